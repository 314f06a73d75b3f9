"""What this device measured, kept so that an unchanged device does not run the same model again."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from envcheck.contract.canonical import digest
from envcheck.contract.document import Document, encode
from envcheck.contract.evidence import Evidence, Smoke
from envcheck.contract.wire import Result
from envcheck.transport.state import State


class Measured(Document, frozen=True, kw_only=True):
    """The evidence for one bundle and what a report says about it; `setup` tells how it was measured."""

    FORMAT: ClassVar[str] = "envcheck.measured/1.0"

    release: str
    setup: str
    evidence: Evidence
    result: Result


class Results:
    """The newest result for each bundle, one file each in the state directory."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._directory = state.directory / "results"

    def put(self, smoke: Smoke, setup: str) -> Measured:
        """Keep what a smoke run measured and return it as a report tells it."""
        readings = smoke.readings
        measured = Measured(
            release=smoke.release,
            setup=setup,
            evidence=smoke.evidence,
            result=Result(
                evidence=digest(encode(smoke.evidence)),
                measured_at=smoke.measured_at,
                latency=readings.latency,
                peak_memory_mb=readings.peak_memory_mb,
                throttled=readings.throttled,
            ),
        )
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._state.save(f"results/{smoke.evidence.bundle}", measured)
        return measured

    def under(self, fingerprint: str, setup: str) -> dict[str, Measured]:
        """Return the results, by bundle, that were measured under this fingerprint and set-up."""
        found = {name: self._state.load(f"results/{name}", Measured) for name in self._names()}
        return {
            name: measured
            for name, measured in found.items()
            if measured is not None
            and measured.evidence.bundle == name
            and (measured.evidence.fingerprint, measured.setup) == (fingerprint, setup)
        }

    def keep_only(self, bundles: Collection[str]) -> None:
        """Forget the results for every other bundle."""
        for name in self._names():
            if name not in bundles:
                self._state.forget(f"results/{name}")

    def _names(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return sorted(path.name for path in self._directory.iterdir() if len(path.name) == 64)
