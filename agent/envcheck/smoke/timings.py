"""Latencies, summed up no further than their number allows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from envcheck.contract.canonical import significant
from envcheck.contract.evidence import Latency

# Below this many runs only minimum and median mean anything.
_ENOUGH = 64
# From here on at least two runs lie beyond the true 99th percentile, with 99% certainty.
_ENOUGH_FOR_P99 = 662
_DIGITS = 4


def summarise(latencies_ms: Sequence[float]) -> Latency | None:
    """Sum up latencies in milliseconds; None when there are none."""
    if not latencies_ms:
        return None
    middle = median(latencies_ms)
    enough = len(latencies_ms) >= _ENOUGH
    enough_for_p99 = len(latencies_ms) >= _ENOUGH_FOR_P99
    return Latency(
        runs=len(latencies_ms),
        min_ms=round(min(latencies_ms), _DIGITS),
        p50_ms=round(middle, _DIGITS),
        p90_ms=round(_percentile(latencies_ms, 0.9), _DIGITS) if enough else None,
        mad_ms=round(median(abs(value - middle) for value in latencies_ms), _DIGITS) if enough else None,
        p99_ms=round(_percentile(latencies_ms, 0.99), _DIGITS) if enough_for_p99 else None,
    )


def throughput(latencies_ms: Sequence[float], samples: float) -> float | None:
    """Return samples a second over all timed runs of `samples` each; None without runs."""
    total = sum(latencies_ms)
    return significant(1000 * samples * len(latencies_ms) / total, _DIGITS) if total > 0 else None


def _percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
