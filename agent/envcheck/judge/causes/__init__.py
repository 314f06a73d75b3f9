"""Why a finding is so: tables of rules that join evidence with facts and the graph's needs, in words.

Each family of findings has its table; the first rule that applies gives the cause. What is proven comes
before what is likely. Rules are pure and know nothing of each other: one more is one more line.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envcheck.contract.verdict import Finding
from envcheck.judge.causes.arrangement import another_shape, permuted, swapped, unrepeatable
from envcheck.judge.causes.cause import CauseRule
from envcheck.judge.causes.endings import (
    damaged,
    illegal_instruction,
    memory,
    no_wheel,
    numpy_abi,
    older,
    opset,
    starved,
)
from envcheck.judge.causes.packages import impact, wheel
from envcheck.judge.causes.precision import bfloat16, flushed, non_finite, tf32
from envcheck.judge.causes.providers import flavours, lost_provider
from envcheck.judge.causes.runtime import arm_kernels, differing, moved, not_the_machine, optimisation
from envcheck.judge.causes.saturation import saturation
from envcheck.judge.comparison import Situation

_NUMBERS: tuple[CauseRule, ...] = (
    *(another_shape, unrepeatable, swapped, permuted),
    *(saturation, bfloat16, tf32, flushed, non_finite),
    *(flavours, optimisation, moved, arm_kernels, differing, not_the_machine),
)
_ENDINGS: tuple[CauseRule, ...] = (
    *(illegal_instruction, opset, no_wheel, numpy_abi, memory, starved, flavours, damaged, older),
)
# By what a finding's path begins with; the first that fits decides.
TABLES: tuple[tuple[str, tuple[CauseRule, ...]], ...] = (
    ("evidence.outputs.", _NUMBERS),
    ("evidence.accuracy", _NUMBERS),
    ("evidence.ending", _ENDINGS),
    ("evidence.placement", (lost_provider,)),
    ("evidence.fallbacks", (lost_provider,)),
    ("evidence.canaries.u8s8", (saturation,)),
    ("evidence.repeatable", (unrepeatable,)),
    ("packages.", (wheel,)),
)


def explain(findings: Sequence[Finding], situation: Situation, *, outputs_judged: bool) -> list[Finding]:
    """Add what each finding means for this model (`impact`) and why it is so (`cause`, `hint`).

    A cause that a comparator gave stays. What could not be determined has no cause.
    """
    felt = impact(findings, situation, outputs_judged=outputs_judged)
    return [_explained(finding, situation, felt) for finding in findings]


def _explained(finding: Finding, situation: Situation, felt: str) -> Finding:
    if finding.unknown:
        return finding
    if finding.path.startswith("packages.") and not finding.impact:
        finding = msgspec.structs.replace(finding, impact=felt)
    if finding.cause:
        return finding
    rules = next((rules for begin, rules in TABLES if finding.path.startswith(begin)), ())
    cause = next((found for rule in rules if (found := rule(finding, situation)) is not None), None)
    if cause is None:
        return finding
    return msgspec.structs.replace(finding, cause=cause.words, hint=cause.hint or finding.hint)
