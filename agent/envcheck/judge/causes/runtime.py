"""What runs the model differs from training: versions, options, the processor; or nothing does."""

from __future__ import annotations

from collections.abc import Mapping

from envcheck.contract.baseline import OutputReference
from envcheck.contract.evidence import Evidence, OutputMetrics
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause, output_of
from envcheck.judge.comparison import Situation
from envcheck.judge.facts_of import minor_of, some, text, texts
from envcheck.judge.tolerance import CPU, first_provider
from envcheck.judge.wheels import install_hint

_LEVEL = "graph_optimization_level"
_QUANTISED = ("quantisation-error", "quantum")
_INTEGER_CANARIES = ("u8s8", "s8s8", "u8u8")
# An error of weights rounded to half precision, as a share of the output's scale: 2^-13 was measured.
_HALF = (2.0**-14.5, 2.0**-11)


def optimisation(_finding: Finding, situation: Situation) -> Cause | None:
    """The graph is optimised otherwise: other kernels, other orders of summation."""
    here, there = optimisation_levels(situation)
    if not here or not there or here == there:
        return None
    return Cause(
        f"the graph is optimised otherwise: {_LEVEL} is {here} here, {there} in training",
        f"make the session with {there}, as in training",
    )


def differing(_finding: Finding, situation: Situation) -> Cause | None:
    """Name every version, provider and feature that differs: one of them may be why."""
    found = _differing_runtime(situation)
    if not found:
        return None
    return Cause(
        f"not proven; what runs the model differs from training: {', '.join(found)}", _mend(situation)
    )


def moved(finding: Finding, situation: Situation) -> Cause | None:
    """A model is further off than on any healthy machine: what else differs is not the likely cause.

    The lab's environments (docs/verdicts.md) move a float model by one floor at most, and on x86 a quantised
    one, whose int8 products are exact, by a quarter of its quantisation error. On Arm, kernels were wrong.
    """
    metrics, expected = output_of(finding, situation), _expected(finding, situation)
    floor = expected.floor if expected is not None else None
    there, here = situation.reference.baseline.evidence, situation.evidence
    differs = _differing_runtime(situation)
    if metrics is None or metrics.rmse is None or floor is None or here is None or not differs:
        return None
    if not first_provider(here) == first_provider(there) == CPU:
        return None
    if floor.basis in _QUANTISED:
        if not _counts_as_in_training(here, there, situation):
            return None
        kind = "a quantised model on x86"
    else:
        half = " (about as much as half precision does)" if _like_half(metrics.rmse, floor.scale) else ""
        kind = f"a float model{half}"
    return Cause(
        f"more than other versions or instruction sets move {kind}: the weights or the inputs "
        f"may not be those of the baseline; what differs besides: {', '.join(differs)}",
        "does `envcheck smoke` on the training machine still agree with this bundle? if not, freeze it anew",
    )


def _counts_as_in_training(here: Evidence, there: Evidence, situation: Situation) -> bool:
    """Tell whether both sides are x86, and every kind of int8 product was tried and gives the same."""
    if not all(_machine(side) == "x86_64" for side in (situation.device, situation.reference.training)):
        return False
    return all(here.canaries.get(name) == there.canaries.get(name, "") for name in _INTEGER_CANARIES)


def arm_kernels(_finding: Finding, situation: Situation) -> Cause | None:
    """A quantised model on an Arm CPU whose integer kernels training did not run."""
    quantised = situation.reference.baseline.graph.quantised
    machines = [_machine(side) for side in (situation.device, situation.reference.training)]
    sme = ["sme" in texts(side, "cpu.isa") for side in (situation.device, situation.reference.training)]
    is_new = machines[0] != machines[1] or sme[0] > sme[1]
    if not quantised or machines[0] not in ("aarch64", "arm64") or not is_new:
        return None
    return Cause(
        "not proven: int8 kernels of this Arm CPU, which training's did not run (the fused "
        "DynamicQuantizeMatMul on SME has given wrong numbers)",
        "try graph_optimization_level ORT_ENABLE_BASIC there, or the session option mlas.disable_kleidiai=1",
    )


def not_the_machine(finding: Finding, situation: Situation) -> Cause | None:
    """Nothing of the machine's arithmetic differs, so the model is not the one of the reference outputs."""
    metrics = output_of(finding, situation)
    broken = "NaN or infinity where training had numbers; " if _is_broken(metrics) else ""
    alike = "onnxruntime, numpy, Python, the provider and the CPU's features are as in training"
    return Cause(
        f"{broken}not known: {alike}; so the weights, or the inputs, may not be those of the baseline",
        "does `envcheck smoke` on the training machine still agree with this bundle? if not, freeze it anew",
    )


def optimisation_levels(situation: Situation) -> tuple[str, str]:
    """Return how far the graph was optimised here and in training, "" where that is not known."""
    here = situation.evidence.runtime.options if situation.evidence is not None else {}
    return here.get(_LEVEL, ""), situation.reference.baseline.evidence.runtime.options.get(_LEVEL, "")


def _expected(finding: Finding, situation: Situation) -> OutputReference | None:
    return situation.reference.baseline.outputs.get(finding.path.removeprefix("evidence.outputs."))


def _like_half(rmse: float, scale: float) -> bool:
    """Tell whether an error is about what weights rounded to ten bits of mantissa make."""
    return scale > 0 and _HALF[0] <= rmse / scale <= _HALF[1]


def _is_broken(metrics: OutputMetrics | None) -> bool:
    return metrics is not None and metrics.problem == "non-finite"


def _mend(situation: Situation) -> str:
    """Say how the versions of training get here, or what else is worth a try."""
    here, there = situation.evidence, situation.reference.baseline.evidence
    for package in ("onnxruntime", "numpy") if here is not None else ():
        wanted = getattr(there.runtime, package)
        if wanted and here is not None and wanted != getattr(here.runtime, package):
            python = here.runtime.python or text(situation.device, "python.version")
            return install_hint(package, wanted, python)
    if "sme" in texts(situation.device, "cpu.isa"):
        return "set the session option mlas.disable_kleidiai to 1: kernels for SME have given wrong numbers"
    return (
        "try graph_optimization_level ORT_ENABLE_BASIC on this device: where that is right, a fused kernel "
        "is wrong on this CPU"
    )


def _differing_runtime(situation: Situation) -> list[str]:
    """Name what differs in what ran the model, as far as both sides told."""
    there = situation.reference.baseline.evidence
    here = situation.evidence or there
    found = [
        f"{name} {ours or 'not known'} (training {theirs or 'not known'})"
        for name, ours, theirs in _pairs(here, there)
        if ours != theirs
    ]
    builds = [(side.runtime.onnxruntime, side.runtime.onnxruntime_build) for side in (here, there)]
    if builds[0] != builds[1] and builds[0][0] == builds[1][0]:
        found.append(f"another build of onnxruntime {builds[0][0]}")
    return [
        *found,
        *_processor(here, there, situation),
        *_options(here.runtime.options, there.runtime.options),
    ]


def _processor(here: Evidence, there: Evidence, situation: Situation) -> list[str]:
    """Name another architecture; of one architecture, the instruction sets that are lacking."""
    machines = [_machine(side) for side in (situation.device, situation.reference.training)]
    if all(machines) and machines[0] != machines[1]:
        return [f"the architecture: {machines[0]} here, {machines[1]} in training"]
    lacking = sorted(set(there.runtime.cpu_features) - set(here.runtime.cpu_features))
    return [f"the CPU lacks {some(lacking)}"] if lacking else []


def _machine(side: SharedFingerprint) -> str:
    return text(side, "python.machine") or text(side, "system.machine")


def _options(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Name options that differ, the level apart: the number of threads is worth a last bit."""
    names = {name for name, _ in here.items() ^ there.items()} - {_LEVEL, "intra_op_num_threads"}
    return [
        f"the session option {name} is {here.get(name, 'not set')} (training {there.get(name, 'not set')})"
        for name in sorted(names)[:4]
    ]


def _pairs(here: Evidence, there: Evidence) -> tuple[tuple[str, str, str], ...]:
    return (
        ("onnxruntime", here.runtime.onnxruntime, there.runtime.onnxruntime),
        ("numpy", here.runtime.numpy, there.runtime.numpy),
        ("Python", minor_of(here.runtime.python), minor_of(there.runtime.python)),
        ("the provider", ", ".join(here.registered), ", ".join(there.registered)),
    )
