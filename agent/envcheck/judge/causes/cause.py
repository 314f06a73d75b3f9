"""What a rule about causes is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from envcheck.contract.evidence import OutputMetrics
from envcheck.contract.verdict import Finding
from envcheck.judge.comparison import Situation


class Cause(NamedTuple):
    """Why a finding is so, in words for people, and how to mend it."""

    words: str
    hint: str = ""


# None where the rule does not apply: the next one of its family is asked.
CauseRule = Callable[[Finding, Situation], Cause | None]


def output_of(finding: Finding, situation: Situation) -> OutputMetrics | None:
    """Return the metrics of the output that a finding is about."""
    name = finding.path.removeprefix("evidence.outputs.")
    return situation.evidence.outputs.get(name) if situation.evidence is not None else None
