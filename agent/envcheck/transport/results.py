"""What this device measured, kept so that an unchanged device does not run the same model again."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from envcheck.contract.canonical import digest, significant
from envcheck.contract.document import Document, encode
from envcheck.contract.evidence import Evidence, Latency, Smoke
from envcheck.contract.wire import Result
from envcheck.transport.state import State


class Measured(Document, frozen=True, kw_only=True):
    """The evidence for one bundle and what a report says about it; `setup` tells how it was measured."""

    FORMAT: ClassVar[str] = "envcheck.measured/1.0"

    release: str
    setup: str
    evidence: Evidence
    result: Result


def told_result(smoke: Smoke) -> Result:
    """Return what a report tells of a run: what verdicts need, to four digits, so that reports stay small."""
    readings, latency = smoke.readings, smoke.readings.latency
    peak = readings.peak_memory_mb
    return Result(
        evidence=digest(encode(smoke.evidence)),
        measured_at=smoke.measured_at,
        latency=None
        if latency is None
        else Latency(
            runs=latency.runs,
            min_ms=significant(latency.min_ms, 4),
            p50_ms=significant(latency.p50_ms, 4),
            p90_ms=None if latency.p90_ms is None else significant(latency.p90_ms, 4),
        ),
        peak_memory_mb=None if peak is None else significant(peak, 4),
        throttled=readings.throttled or None,
    )


class Results:
    """The newest result for each bundle, one file each in the state directory."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._directory = state.directory / "results"

    def put(self, smoke: Smoke, setup: str) -> Measured:
        """Keep what a smoke run measured and return it as a report tells it."""
        measured = Measured(
            release=smoke.release, setup=setup, evidence=smoke.evidence, result=told_result(smoke)
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
