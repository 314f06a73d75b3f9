"""Impact and cause: rules that join findings with evidence, facts and the graph's needs, in words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envcheck.contract.verdict import Finding
from envcheck.judge.comparison import Situation
from envcheck.judge.evidence_comparators import SATURATION_HINT, saturating_nodes
from envcheck.judge.paths import MISSING, get

_NUMERIC = ("evidence.outputs.", "evidence.accuracy")


def explain(findings: Sequence[Finding], situation: Situation, *, outputs_judged: bool) -> list[Finding]:
    """Add what each finding means for this model (`impact`) and why it is so (`cause`, `hint`).

    `outputs_judged` says whether the policy held the outputs to their floor at all: only then may their
    silence be taken for "unaffected".
    """
    felt = any(finding.path.startswith(_NUMERIC) for finding in findings)
    explained: list[Finding] = []
    for finding in findings:
        if finding.path.startswith(_NUMERIC) and not finding.unknown:
            finding = _with_cause(finding, situation)
        elif finding.path.startswith("packages.") and not finding.impact:
            impact = _package_impact(situation, felt=felt, outputs_judged=outputs_judged)
            finding = msgspec.structs.replace(finding, impact=impact)
        explained.append(finding)
    return explained


def _package_impact(situation: Situation, *, felt: bool, outputs_judged: bool) -> str:
    """Evidence outranks inventory: say whether the difference was felt."""
    if situation.evidence is None or not outputs_judged:
        return "what it does to the outputs was not measured"
    return "outputs differ from training" if felt else "outputs are unaffected by it"


def _with_cause(finding: Finding, situation: Situation) -> Finding:
    nodes = saturating_nodes(situation)
    if nodes:
        cause = f"int8 products saturate: {_cpu(situation)}, and the model has {nodes} U8S8 nodes"
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
        cause="not known: what runs the model is as in training",
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


def _differing_runtime(situation: Situation) -> list[str]:
    there = situation.reference.baseline.evidence.runtime
    here = situation.evidence.runtime if situation.evidence is not None else there
    pairs = (
        ("onnxruntime", here.onnxruntime, there.onnxruntime),
        ("numpy", here.numpy, there.numpy),
        ("Python", here.python, there.python),
    )
    differing = [f"{name} {ours} (training {theirs})" for name, ours, theirs in pairs if ours != theirs]
    if here.options != there.options:
        differing.append("session options")
    lacking = sorted(set(there.cpu_features) - set(here.cpu_features))
    if lacking:
        differing.append(f"the CPU lacks {', '.join(lacking[:6])}")
    return differing
