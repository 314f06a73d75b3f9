"""What the blocked devices have in common that the ready ones have not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.judge.paths import matches

_MOST_LINES = 8
# What can explain a blocked device to a person, best first; the other facts only repeat it.
_EXPLAINING = (
    "cpu.isa",
    "onnxruntime.providers",
    "onnxruntime.conflicts",
    "cuda.driver",
    "cuda.gpus",
    "packages.*.version",
    "packages.*.local",
    "python.version",
    "python.implementation",
    "variables.values.*",
    "system.machine",
    "system.os.version_id",
    "system.kernel",
    "cpu.model",
    "memory.total_mib",
)
# Digests tell machines apart, but people nothing.
_DIGEST = re.compile(r"[0-9a-f]{16,}")

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """A fingerprint, and how many devices have it."""

    fingerprint: SharedFingerprint
    count: int


@dataclass(frozen=True, slots=True)
class _Trait:
    """A path and one value there, or one member of a list there."""

    path: Path
    value: str
    member: bool


def in_common(
    blocked: Sequence[Environment], ready: Sequence[Environment], required: Collection[str]
) -> list[str]:
    """Return lines such as "cpu.isa lacks avx512_vnni (9 of 9; 0 of 412 ready)".

    A line holds for every blocked device and for no ready one. Without both there is nothing to compare.
    Of packages only those that the model loads (`required`) can explain something.
    """
    if not blocked or not ready:
        return []
    here, there = _shared(blocked, required), _shared(ready, required)
    seen_here, seen_there = _any(blocked, required), _any(ready, required)
    only_blocked = here - seen_there
    only_ready = there - seen_here
    tail = f"({_total(blocked)} of {_total(blocked)}; 0 of {_total(ready)} ready)"
    lines = [f"{text} {tail}" for text in _lines(only_blocked, only_ready)]
    return lines[:_MOST_LINES]


def _lines(only_blocked: set[_Trait], only_ready: set[_Trait]) -> Iterator[str]:
    paths = sorted({trait.path for trait in only_blocked | only_ready}, key=_rank)
    for path in paths:
        name = ".".join(path)
        here = sorted((one for one in only_blocked if one.path == path), key=lambda one: one.value)
        there = sorted((one for one in only_ready if one.path == path), key=lambda one: one.value)
        if any(one.member for one in (*here, *there)):
            if there:
                yield f"{name} lacks {_and(there)}"
            if here:
                yield f"{name} has {_and(here)}"
        elif here:
            yield f"{name} is {_and(here)}" + (f", not {_and(there)}" if there else "")
        else:
            yield f"{name} is not {_and(there)}"


def _shared(environments: Sequence[Environment], required: Collection[str]) -> set[_Trait]:
    traits = [set(_traits(one.fingerprint, required)) for one in environments]
    return set.intersection(*traits)


def _any(environments: Sequence[Environment], required: Collection[str]) -> set[_Trait]:
    return {trait for one in environments for trait in _traits(one.fingerprint, required)}


def _traits(fingerprint: SharedFingerprint, required: Collection[str]) -> Iterator[_Trait]:
    for name, section in fingerprint.sections.items():
        if section.status != "ok":
            yield _Trait((name,), section.status, member=False)
        facts = section.facts
        if name == "packages":
            facts = {title: facts[title] for title in required if title in facts}
        yield from (trait for trait in _walk((name,), facts) if _rank(trait.path)[0] < len(_EXPLAINING))


def _walk(path: Path, value: Any) -> Iterator[_Trait]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk((*path, key), item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield _Trait(path, item, member=True)
    elif not _DIGEST.fullmatch(str(value)):
        yield _Trait(path, _written(value), member=False)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _and(traits: Sequence[_Trait]) -> str:
    shown = [trait.value for trait in traits[:4]]
    more = len(traits) - len(shown)
    return " and ".join(shown) + (f" and {more} more" if more else "")


def _rank(path: Path) -> tuple[int, Path]:
    ranks = (number for number, pattern in enumerate(_EXPLAINING) if matches(pattern, path))
    return (0 if len(path) == 1 else next(ranks, len(_EXPLAINING)), path)


def _total(environments: Sequence[Environment]) -> int:
    return sum(one.count for one in environments)
