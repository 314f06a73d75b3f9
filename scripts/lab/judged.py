"""Outcomes held to the truth: was the fault found, was its cause named, was a healthy device let pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from case import Case
from matrix import Outcome, named
from refusals import Refusal


@dataclass(frozen=True)
class Judged:
    """An outcome beside what was planted. `cause` is how well it was told, see `matrix.named`."""

    outcome: Outcome
    cause: str

    @property
    def healthy(self) -> bool:
        """Whether nothing was planted."""
        return self.outcome.truth == "healthy"

    @property
    def found(self) -> bool:
        """Whether the agent held back what is not healthy (or told it, where that is what is asked)."""
        truth = self.outcome.truth
        if truth == "told":
            return self.cause == "named"
        if truth == "refusal":
            return self.outcome.verdict in ("refused", "warned") and self.cause == "named"
        return self.outcome.verdict == "fail"

    @property
    def right(self) -> bool:
        """Whether the verdict is right; what is below the noise floor may be either."""
        if self.outcome.truth == "below":
            return True
        return self.outcome.verdict == "pass" if self.healthy else self.found

    def numbers(self, key: str) -> list[float]:
        """Return one number of every output that has it."""
        return [output[key] for output in self.outcome.numbers.values() if key in output]

    def refused_by(self, tolerance: str) -> bool:
        """Whether another tool's tolerance would have refused any output."""
        return any(tolerance in output.get("refused_by", []) for output in self.outcome.numbers.values())


def judge(outcomes: Sequence[Outcome], cases: Iterable[Case | Refusal]) -> list[Judged]:
    """Hold every outcome to what its case says."""
    causes = {(case.name, case.what): case.cause for case in cases}
    return [_judged(outcome, causes[outcome.case, outcome.what]) for outcome in outcomes]


def _judged(outcome: Outcome, cause: str) -> Judged:
    # Where nothing was held back, what is told is of something else.
    silent = outcome.verdict == "pass" and outcome.truth != "told"
    return Judged(outcome, "" if silent or not cause else named(outcome, cause))


def available(judged: Sequence[Judged]) -> list[Judged]:
    """Return what could be run on this machine."""
    return [one for one in judged if not one.outcome.unavailable]


def document(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return plain values of everything, for JSON."""
    return [
        {**asdict(one.outcome), "cause": one.cause, "found": one.found, "right": one.right} for one in judged
    ]


def rows(judged: Sequence[Judged]) -> list[list[Any]]:
    """Return a line for every cell: where, verdict, cause, and the worse output in floors."""
    return [
        [
            *(one.outcome.case, one.outcome.truth, one.outcome.variant, one.outcome.environment),
            one.outcome.verdict or "not available",
            one.cause,
            *(_worst(one.numbers(key)) for key in ("rmse_floors", "max_floors")),
        ]
        for one in judged
    ]


def _worst(values: list[float]) -> float | None:
    return float(f"{max(values):.3g}") if values else None
