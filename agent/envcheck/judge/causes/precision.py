"""Coarser arithmetic than training's: TF32, bfloat16, flushed subnormals, NaN."""

from __future__ import annotations

from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause, output_of
from envcheck.judge.comparison import Situation
from envcheck.judge.facts_of import text, texts
from envcheck.judge.paths import get
from envcheck.judge.tolerance import EPSILON, first_provider

_ON_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")
_TF32_CAPABILITY = (8, 0)
_BFLOAT16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"
# How many roundoffs of the output's scale an error may have and still be rounding to that type.
_ROUNDOFFS = 64


def tf32(finding: Finding, situation: Situation) -> Cause | None:
    """The GPU rounds float32 products to ten bits of mantissa, unless it is told not to."""
    evidence = situation.evidence
    if evidence is None or first_provider(evidence) not in _ON_CUDA:
        return None
    canary = evidence.canaries.get("tf32", "")
    capability = _capability(situation)
    switched_off = text(situation.device, "variables.values.NVIDIA_TF32_OVERRIDE") == "0"
    proven = canary.startswith("tf32") or canary == "on"
    if not proven and (canary or switched_off or capability < _TF32_CAPABILITY):
        return None
    if not _fits(finding, situation, "tf32"):
        return None
    told = f"the GPU (compute capability {capability[0]}.{capability[1]})" if capability[0] else "the GPU"
    words = f"{told} multiplies float32 as TF32, which keeps ten bits of mantissa"
    if not proven:
        words = f"not proven: {words}"
    return Cause(
        words,
        "set the provider's option use_tf32=0 or NVIDIA_TF32_OVERRIDE=0, or allow it: {compute: tf32}",
    )


def bfloat16(finding: Finding, situation: Situation) -> Cause | None:
    """An Arm CPU multiplies float32 as bfloat16, as a session option asks it to."""
    evidence = situation.evidence
    if evidence is None:
        return None
    asked = evidence.runtime.options.get(_BFLOAT16) == "1"
    proven = evidence.canaries.get("bf16", "").startswith("bf16")
    able = "bf16" in texts(situation.device, "cpu.isa")
    if not (proven or (asked and able)) or not _fits(finding, situation, "bf16"):
        return None
    return Cause(
        f"float32 products are rounded to bfloat16 ({_BFLOAT16} is {'on' if asked else 'not set by us'})",
        f'set {_BFLOAT16} to "0", or allow it: options {{compute: bf16}}',
    )


def flushed(_finding: Finding, situation: Situation) -> Cause | None:
    """Weights below the smallest normal number count as zero here."""
    evidence, graph = situation.evidence, situation.reference.baseline.graph
    there = situation.reference.baseline.evidence.canaries.get("denormals", "")
    here = evidence.canaries.get("denormals", "") if evidence is not None else ""
    if not graph.subnormal or here != "flushed" or there != "kept":
        return None
    return Cause(
        f"subnormal numbers are flushed to zero here, and the model has {graph.subnormal} subnormal weights",
        "set such weights to zero before the model is frozen, so that no machine can differ in them",
    )


def non_finite(finding: Finding, situation: Situation) -> Cause | None:
    """NaN or infinities where training had numbers: half precision overflows first."""
    metrics = output_of(finding, situation)
    if metrics is None or metrics.problem != "non-finite":
        return None
    narrow = metrics.dtype in ("float16", "bfloat16")
    arm = sorted({"asimdhp", "fphp", "i8mm", "bf16", "sve", "sme"} & set(texts(situation.device, "cpu.isa")))
    if narrow:
        return Cause(
            "NaN or infinity: numbers of half precision overflow above 65504, and this model computes in it",
            "keep the layers that overflow in float32, and freeze the model anew",
        )
    if arm:
        return Cause(
            f"not proven: NaN or infinity, and this CPU runs kernels of its own for {', '.join(arm)}",
            "try a newer onnxruntime here, or the session option mlas.disable_kleidiai=1",
        )
    return None


def _capability(situation: Situation) -> tuple[int, int]:
    """Return the newest compute capability of the device's GPUs; (0, 0) when none is known."""
    found = [(0, 0)]
    section = situation.device.sections.get("cuda")
    listed = get(section.facts, ("gpus",)) if section is not None else None
    for gpu in listed if isinstance(listed, list) else ():
        major, _, minor = str(get(gpu, ("capability",))).partition(".")
        if major.isdecimal() and minor.isdecimal() and len(major) < 4 and len(minor) < 4:
            found.append((int(major), int(minor)))
    return max(found)


def _fits(finding: Finding, situation: Situation, compute: str) -> bool:
    """Tell whether an error is as small as rounding to `compute` makes it: a far larger one is not that."""
    metrics = output_of(finding, situation)
    if metrics is None or metrics.rmse is None:
        return finding.path == "evidence.accuracy"
    expected = situation.reference.baseline.outputs.get(finding.path.removeprefix("evidence.outputs."))
    scale = expected.floor.scale if expected is not None and expected.floor is not None else 0.0
    return metrics.rmse <= _ROUNDOFFS * EPSILON[compute] * scale
