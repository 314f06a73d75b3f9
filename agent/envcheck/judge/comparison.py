"""What a comparator is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from envcheck.contract.document import Value
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.policy import Severity
from envcheck.contract.verdict import Measure
from envcheck.judge.reference import Reference


class Difference(Value, frozen=True, kw_only=True):
    """One thing that is not as in training; `judge` makes a finding of it.

    `at_most` lowers the rule's severity where the difference can't matter to this model. `left_out` is what
    a quick run does not measure: a rule that warns only tells it, one that blocks is unknown.
    """

    message: str
    expected: str = ""
    actual: str = ""
    unknown: bool = False
    at_most: Severity | None = None
    left_out: bool = False
    impact: str = ""
    cause: str = ""
    hint: str = ""


class Situation(Value, frozen=True, kw_only=True):
    """Everything `judge` knows: the training side, and the device's facts and evidence.

    `evidence` is there only when it counts and the run ended well; `ended` when it counts, but did not.
    """

    reference: Reference
    device: SharedFingerprint
    evidence: Evidence | None
    ended: Evidence | None = None


class Comparison(NamedTuple):
    """One concrete path on both sides; MISSING where a side has nothing there."""

    path: tuple[str, ...]
    expected: Any
    actual: Any
    options: Any
    situation: Situation


class Comparator(NamedTuple):
    """A way to compare, the type of its options, and whether it needs training's side to have a value.

    `measure` tells the same numbers beside what they are held to, also where nothing differs.
    """

    compare: Callable[[Comparison], Difference | None]
    options: type[msgspec.Struct]
    reads: str = "facts"
    absolute: bool = False
    measure: Callable[[Comparison], Iterator[Measure]] | None = None


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For comparators that take none."""


Comparators = Mapping[str, Comparator]


def shown(value: Any) -> str:
    """Write a fact for people, bounded."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8")
    return text if len(text) <= 120 else text[:117] + "..."
