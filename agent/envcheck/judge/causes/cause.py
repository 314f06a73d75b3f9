"""What a rule about causes is given and what it answers, and how it reads facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from envcheck.contract.evidence import OutputMetrics
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.verdict import Finding
from envcheck.judge.comparison import Situation
from envcheck.judge.paths import get, split


class Cause(NamedTuple):
    """Why a finding is so, in words for people, and how to mend it."""

    words: str
    hint: str = ""


# None where the rule does not apply: the next one of its family is asked.
CauseRule = Callable[[Finding, Situation], Cause | None]


def text(device: SharedFingerprint, path: str) -> str:
    """Return the fact at `path` if it is text, else "": facts of strange devices may be anything."""
    value = _fact(device, path)
    return value if isinstance(value, str) else ""


def number(device: SharedFingerprint, path: str) -> float | None:
    """Return the fact at `path` if it is a number."""
    value = _fact(device, path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def texts(device: SharedFingerprint, path: str) -> list[str]:
    """Return those elements of the list at `path` that are text."""
    value = _fact(device, path)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def mapping(device: SharedFingerprint, path: str) -> dict[str, Any]:
    """Return the mapping at `path`, an empty one when there is none."""
    value = _fact(device, path)
    return value if isinstance(value, dict) else {}


def output_of(finding: Finding, situation: Situation) -> OutputMetrics | None:
    """Return the metrics of the output that a finding is about."""
    name = finding.path.removeprefix("evidence.outputs.")
    return situation.evidence.outputs.get(name) if situation.evidence is not None else None


def minor_of(python: str) -> str:
    """Return 3.11 of 3.11.7."""
    return ".".join(python.split(".")[:2])


def some(names: list[str], limit: int = 6) -> str:
    """Name the first few and count the others."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _fact(device: SharedFingerprint, path: str) -> Any:
    section, *steps = split(path)
    found = device.sections.get(section)
    return get(found.facts, tuple(steps)) if found is not None else None
