"""The numbers behind the comparators of outputs, each beside what it is held to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from envcheck.contract.verdict import Measure, MeasureState
from envcheck.judge.comparison import Comparison
from envcheck.judge.held import (
    MOST_ROUNDED,
    QUANTUM,
    batch_tolerance,
    excess_of,
    incomparable,
    is_random,
    sides,
    slack_of,
    tie_tolerance,
    tolerance_of,
)
from envcheck.judge.random_outputs import statistics_measures

# Healthy machines stay below half of what is allowed (docs/verdicts.md); above it something has moved.
_DRIFT = 0.5


def measured(name: str, metric: str, value: float | None, allowed: float | None) -> Measure:
    """Put one number beside what it was held to."""
    state: MeasureState = "unknown"
    if value is not None and allowed is not None:
        ratio = excess_of(value, allowed)
        state = "pass" if ratio <= _DRIFT else "drift" if ratio <= 1 else "fail"
    finite = value if value is not None and math.isfinite(value) else None
    return Measure(output=name, metric=metric, value=finite, tolerance=allowed, state=state)


def noise_floor_measures(comparison: Comparison) -> Iterator[Measure]:
    """RMSE and largest error beside their tolerances; differing elements of exact outputs beside none."""
    name, expected, actual = sides(comparison)
    if expected is None or actual is None or incomparable(name, expected, actual) is not None:
        return
    if is_random(comparison):
        yield from statistics_measures(name, actual, comparison)
    elif expected.exact:
        differing = None if actual.differing is None else float(actual.differing)
        tied = tie_tolerance(expected, comparison)
        if tied is not None:
            yield measured(name, "tie_gap", 0.0 if differing == 0 else actual.tie_gap, tied)
            return
        if expected.quantised:
            yield measured(name, "max_abs", 0.0 if differing == 0 else actual.max_abs, QUANTUM)
        allowed_share = MOST_ROUNDED if expected.quantised else 0.0
        yield measured(name, "differing", differing, allowed_share * actual.elements)
    else:
        allowed = tolerance_of(expected, comparison)
        yield measured(name, "rmse", actual.rmse, allowed.rms if allowed is not None else None)
        yield measured(name, "max_abs", actual.max_abs, allowed.max if allowed is not None else None)


def decision_measures(comparison: Comparison) -> Iterator[Measure]:
    """The largest margin that was flipped beside what counts as a tie."""
    name, expected, actual = sides(comparison)
    if expected is None or actual is None or not expected.decides or is_random(comparison):
        return
    allowed, decided = tolerance_of(expected, comparison), actual.decisions
    tie = 2 * allowed.max if allowed is not None else None
    margin = None
    if decided is not None and decided.top == expected.top:
        margin = decided.largest_margin if decided.flipped else 0.0
    yield measured(name, "flipped_margin", margin, tie)


def range_measures(comparison: Comparison) -> Iterator[Measure]:
    """How far sums of probabilities are from 1."""
    name, expected, actual = sides(comparison)
    if expected is not None and actual is not None and expected.probabilities and not actual.problem:
        yield measured(name, "sum_error", actual.sum_error, slack_of(name, expected, comparison))


def batching_measures(comparison: Comparison) -> Iterator[Measure]:
    """How much samples alone differ from the same samples in a batch."""
    name, expected, actual = sides(comparison)
    there = comparison.situation.reference.baseline.evidence.outputs.get(name)
    if expected is None or actual is None or there is None or there.batching_rms is None or actual.problem:
        return
    if is_random(comparison):
        return
    allowed = batch_tolerance(expected, there, comparison)
    yield measured(name, "batching_rms", actual.batching_rms, allowed.rms if allowed is not None else None)
    yield measured(name, "batching_max", actual.batching_max, allowed.max if allowed is not None else None)
