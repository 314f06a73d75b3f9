"""What a package, or the interpreter, that differs means for this model."""

from __future__ import annotations

from collections.abc import Sequence

from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause
from envcheck.judge.comparison import Situation
from envcheck.judge.facts_of import minor_of, text
from envcheck.judge.wheels import can_have, install_hint

_NUMBERS = ("evidence.outputs.", "evidence.accuracy")


def impact(findings: Sequence[Finding], situation: Situation, *, outputs_judged: bool) -> str:
    """Evidence outranks inventory: say whether differences in packages were felt.

    `outputs_judged` says whether the policy holds the outputs to their floor at all: only then may their
    silence be taken for "unaffected".
    """
    if not outputs_judged:
        return "this policy does not judge outputs"
    numbers = [finding for finding in findings if finding.path.startswith(_NUMBERS)]
    if any(not finding.unknown for finding in numbers):
        return "outputs differ from training"
    if situation.evidence is None or numbers or any(finding.path == "evidence" for finding in findings):
        return "what it does to the outputs is not known"
    return "outputs are unaffected by it"


def wheel(finding: Finding, situation: Situation) -> Cause | None:
    """The device's Python can't have the version of training: installing it is no way to mend it."""
    _, name, *rest = finding.path.split(".")
    python = text(situation.device, "python.version")
    wanted = finding.expected
    if rest != ["version"] or not python or not wanted or can_have(name, wanted, python):
        return None
    return Cause(f"Python {minor_of(python)} can't have {name} {wanted}", install_hint(name, wanted, python))
