"""The audit log: who changed what and when, written with the change or not at all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from envcheck.errors import BadInput
from envcheck_server.service.times import Clock
from envcheck_server.store.interface import Store
from envcheck_server.store.values import AuditEntry, Deed, entry_hash

# Whoever calls a service without saying who they are: somebody on the collector's own machine.
LOCAL = "local"


class _Service(Protocol):
    _store: Store


S = TypeVar("S", bound=_Service)
P = ParamSpec("P")
T = TypeVar("T")


def together(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Make one transaction of a method of a service, so that a change and its entry are not apart."""

    @functools.wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._store.together():
            return method(self, *args, **kwargs)

    return run


class Recorder:
    """Writes down what is done, in the transaction that does it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def record(self, by: str, action: str, target: str, **details: str | int) -> None:
        """Add an entry; `details` must hold no secret."""
        self._store.audit.append([Deed(self._clock(), by, action, target, details)])


def written_labels(labels: Mapping[str, str]) -> str:
    """Write labels in one line, in the order of their names."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


@dataclass(frozen=True, slots=True)
class Chain:
    """What came of following the log: its last entry, and what was wrong first ("" when nothing was)."""

    number: int
    hash: str
    fault: str = ""


class AuditService:
    """Reads the log, and tells whether anybody changed it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def entries(self, after: int = 0) -> Iterator[AuditEntry]:
        """Yield entries, oldest first."""
        return self._store.audit.entries(after)

    def verify(self, known: str = "") -> Chain:
        """Follow the chain from its beginning; `known` is NUMBER:HASH of an entry as it was seen before.

        Raises BadInput for a `known` that is none.
        """
        anchor = _read_anchor(known) if known else None
        # Taken first: what is added meanwhile lies behind it.
        last, last_hash = self._store.audit.head()
        number, previous = 0, ""
        for entry in self.entries():
            number += 1
            fault = _fault(entry, number, previous)
            if fault:
                return Chain(number, previous, fault)
            previous = entry.hash
            if anchor is not None and number == anchor[0] and anchor[1] != previous:
                return Chain(number, previous, f"entry {number} is not the one that was seen before")
            if number == last and previous != last_hash:
                return Chain(number, previous, f"entry {number} is not the last one that was written")
        return Chain(number, previous, _missing(number, last, anchor))


def _fault(entry: AuditEntry, number: int, previous: str) -> str:
    if entry.number != number:
        return f"entry {number} is missing"
    if entry.hash != entry_hash(number, entry.deed, previous):
        return f"entry {number} was changed, or one before it was taken out"
    return ""


def _missing(number: int, last: int, anchor: tuple[int, str] | None) -> str:
    wanted = max(last, anchor[0] if anchor else 0)
    return f"the log ends with entry {number}, but there were {wanted}" if number < wanted else ""


def _read_anchor(text: str) -> tuple[int, str]:
    number, _, found = text.partition(":")
    if not number.isdecimal() or len(number) > 18 or not found:
        raise BadInput(f"{text[:100]!r} names no entry", "it is NUMBER:HASH, as `audit verify` prints it")
    return int(number), found
