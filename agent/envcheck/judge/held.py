"""What an output is held to: both sides of it, whether they can be compared, and how far it may be off."""

from __future__ import annotations

import math

import msgspec

from envcheck.contract.baseline import OutputReference
from envcheck.contract.evidence import OutputMetrics
from envcheck.judge.comparison import Comparison, Difference
from envcheck.judge.tolerance import Tolerance, own_epsilon, tolerance

_FUZZ = 1e-9
# Rounding halves otherwise moves an element of a quantised output by one quantum, and a tenth of all elements
# in healthy runs (docs/verdicts.md); where most of them move it is no rounding.
QUANTUM = 1.0
MOST_ROUNDED = 0.5
# A sum of probabilities may be off by this many roundoffs of the output's own type, or by this many times
# what it is off in training.
_SUM_ROUNDOFFS = 64
_SUM_FACTOR = 3.0
# Dynamic quantisation scales by the whole batch: such a model differs from itself in training already.
_BATCH_FACTOR = 2.0


def sides(comparison: Comparison) -> tuple[str, OutputReference | None, OutputMetrics | None]:
    """Return an output's name, what it was in training, and what was measured of it here."""
    name = comparison.path[-1]
    actual = comparison.actual if isinstance(comparison.actual, OutputMetrics) else None
    return name, comparison.situation.reference.baseline.outputs.get(name), actual


def incomparable(
    name: str, expected: OutputReference | None, actual: OutputMetrics | None
) -> Difference | None:
    """Say why an output can't be held to its reference number by number."""
    if expected is None:
        return Difference(message=f"output {name} is not one of training's")
    if actual is None:
        return Difference(message=f"output {name} is missing")
    described = [f"{one.dtype} {one.shape}" for one in (expected, actual)]
    if actual.problem or described[0] != described[1]:
        detail = actual.detail or actual.problem or f"it is {described[1]} here, {described[0]} in training"
        return Difference(message=f"output {name}: {detail}", expected=described[0], actual=described[1])
    return None


def is_random(comparison: Comparison) -> bool:
    """Tell whether the model draws random numbers, so that no two runs agree."""
    return bool(comparison.situation.reference.baseline.graph.random)


def excess_of(error: float, allowed: float) -> float:
    """How many times what is allowed; a share at the limit is not above it for a rounding of ours."""
    if error == 0:
        return 0.0
    ratio = error / allowed if allowed > 0 else math.inf
    return 1.0 if abs(ratio - 1) < _FUZZ else ratio


def tolerance_of(expected: OutputReference, comparison: Comparison) -> Tolerance | None:
    """Return how far an output may be off; None for one without a floor."""
    evidence = comparison.situation.evidence
    if expected.floor is None or evidence is None:
        return None
    return tolerance(expected, expected.floor, comparison.situation.reference, evidence, comparison.options)


def tie_tolerance(expected: OutputReference, comparison: Comparison) -> float | None:
    """How far apart scores may be that are tied: twice their tolerance; None where no scores are known."""
    if expected.ties is None:
        return None
    scores = comparison.situation.reference.baseline.outputs.get(expected.ties.scores)
    allowed = tolerance_of(scores, comparison) if scores is not None else None
    return None if allowed is None else 2 * allowed.max


def rounded_otherwise(expected: OutputReference, actual: OutputMetrics) -> bool:
    """Tell whether a quantised output differs by no more than another rounding does."""
    if not expected.quantised or actual.max_abs is None or actual.differing is None:
        return False
    return actual.max_abs <= QUANTUM and actual.differing <= MOST_ROUNDED * actual.elements


def batch_tolerance(
    expected: OutputReference, there: OutputMetrics, comparison: Comparison
) -> Tolerance | None:
    """The output's own tolerance, or twice what the model differs from itself in training."""
    allowed = tolerance_of(expected, comparison)
    if allowed is None:
        return None
    return msgspec.structs.replace(
        allowed,
        rms=max(allowed.rms, _BATCH_FACTOR * (there.batching_rms or 0.0)),
        max=max(allowed.max, _BATCH_FACTOR * (there.batching_max or 0.0)),
    )


def slack_of(name: str, expected: OutputReference, comparison: Comparison) -> float:
    """How far sums of probabilities may be from 1, and probabilities outside of [0, 1]."""
    there = comparison.situation.reference.baseline.evidence.outputs.get(name)
    measured = there.sum_error or 0.0 if there is not None else 0.0
    return max(_SUM_FACTOR * measured, _SUM_ROUNDOFFS * own_epsilon(expected))
