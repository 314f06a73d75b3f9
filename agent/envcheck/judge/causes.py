"""Impact and cause: rules that join findings with evidence, facts and the graph's needs, in words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envcheck.contract.verdict import Finding
from envcheck.judge.comparison import Situation
from envcheck.judge.evidence_comparators import SATURATION_HINT, saturating_nodes
from envcheck.judge.paths import MISSING, get

_NUMERIC = ("evidence.outputs.", "evidence.accuracy")
_ALIKE = "onnxruntime, numpy, Python, the provider and the CPU's features are"


def explain(findings: Sequence[Finding], situation: Situation, *, outputs_judged: bool) -> list[Finding]:
    """Add what each finding means for this model (`impact`) and why it is so (`cause`, `hint`).

    `outputs_judged` says whether the policy holds the outputs to their floor at all: only then may their
    silence be taken for "unaffected".
    """
    impact = _package_impact(findings, situation) if outputs_judged else "this policy does not judge outputs"
    explained: list[Finding] = []
    for finding in findings:
        if _is_numeric(finding, situation):
            finding = _with_cause(finding, situation)
        elif finding.path.startswith("packages.") and not finding.impact and not finding.unknown:
            finding = msgspec.structs.replace(finding, impact=impact)
        explained.append(finding)
    return explained


def _package_impact(findings: Sequence[Finding], situation: Situation) -> str:
    """Evidence outranks inventory: say whether a difference was felt."""
    numeric = [finding for finding in findings if finding.path.startswith(_NUMERIC)]
    if any(not finding.unknown for finding in numeric):
        return "outputs differ from training"
    if situation.evidence is None or numeric or any(finding.path == "evidence" for finding in findings):
        return "what it does to the outputs is not known"
    return "outputs are unaffected by it"


def _is_numeric(finding: Finding, situation: Situation) -> bool:
    """Tell whether numbers differ: an output of another shape, or none, has another cause than arithmetic."""
    if finding.unknown or situation.evidence is None:
        return False
    if finding.path == "evidence.accuracy":
        return True
    name = finding.path.removeprefix("evidence.outputs.")
    output = situation.evidence.outputs.get(name)
    known = name in situation.reference.baseline.outputs
    return known and output is not None and output.problem in ("", "non-finite")


def _with_cause(finding: Finding, situation: Situation) -> Finding:
    nodes = saturating_nodes(situation)
    if nodes:
        scheme = _scheme(situation)
        cause = f"int8 products saturate: {_cpu(situation)}, and the model has {nodes} {scheme} nodes"
        return msgspec.structs.replace(finding, cause=cause, hint=SATURATION_HINT)
    differing = _differing_runtime(situation)
    if differing:
        return msgspec.structs.replace(
            finding,
            cause=f"not proven; what runs the model differs from training: {', '.join(differing)}",
            hint="install the versions of training, then run again",
        )
    return msgspec.structs.replace(
        finding,
        cause=f"not known: {_ALIKE} as in training",
        hint="does `envcheck smoke` on the training machine still agree with this bundle?",
    )


def _cpu(situation: Situation) -> str:
    cpu = situation.device.sections.get("cpu")
    isa = get(cpu.facts, ("isa",)) if cpu is not None else MISSING
    if not isinstance(isa, list):
        return "the canary saturates"
    if "avx512_vnni" in isa or "avx_vnni" in isa:
        # An emulated or masked CPU: the kernel's flags are not what the process was given.
        return "the canary saturates although the kernel lists VNNI"
    return "this CPU has no VNNI"


def _scheme(situation: Situation) -> str:
    quantised = situation.reference.baseline.graph.quantised
    return "U8S8" if set(quantised) == {"U8S8"} else "int8"


def _differing_runtime(situation: Situation) -> list[str]:
    """Name what differs in what ran the model, as far as both sides told."""
    there = situation.reference.baseline.evidence
    here = situation.evidence or there
    pairs = (
        ("onnxruntime", here.runtime.onnxruntime, there.runtime.onnxruntime),
        ("numpy", here.runtime.numpy, there.runtime.numpy),
        ("Python", here.runtime.python, there.runtime.python),
        ("the provider", ", ".join(here.registered), ", ".join(there.registered)),
    )
    differing = [
        f"{name} {ours or 'not known'} (training {theirs or 'not known'})"
        for name, ours, theirs in pairs
        if ours != theirs
    ]
    builds = [(side.runtime.onnxruntime, side.runtime.onnxruntime_build) for side in (here, there)]
    if builds[0] != builds[1] and builds[0][0] == builds[1][0]:
        differing.append(f"another build of onnxruntime {builds[0][0]}")
    options = {name for name, _ in here.runtime.options.items() ^ there.runtime.options.items()}
    if options:
        differing.append(f"session options ({', '.join(sorted(options))})")
    lacking = sorted(set(there.runtime.cpu_features) - set(here.runtime.cpu_features))
    if lacking:
        more = f" and {len(lacking) - 6} more" if len(lacking) > 6 else ""
        differing.append(f"the CPU lacks {', '.join(lacking[:6])}{more}")
    return differing
