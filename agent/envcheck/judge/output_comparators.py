"""Comparators for outputs: numbers, decisions, ranges and batches, held to measured tolerances."""

from __future__ import annotations

import math

from envcheck.contract.baseline import OutputReference
from envcheck.contract.evidence import OutputMetrics
from envcheck.judge.comparison import Comparator, Comparison, Difference, NoOptions
from envcheck.judge.held import (
    batch_tolerance,
    excess_of,
    incomparable,
    is_random,
    rounded_otherwise,
    sides,
    slack_of,
    tie_tolerance,
    tolerance_of,
)
from envcheck.judge.output_measures import (
    batching_measures,
    decision_measures,
    noise_floor_measures,
    range_measures,
)
from envcheck.judge.random_outputs import statistics
from envcheck.judge.tolerance import FloorOptions, Tolerance


def noise_floor(comparison: Comparison) -> Difference | None:
    """The output is within k noise floors of its reference (exact types: equal; random models: alike)."""
    name, expected, actual = sides(comparison)
    hindered = incomparable(name, expected, actual)
    if hindered is not None or expected is None or actual is None:
        return hindered
    if is_random(comparison):
        return statistics(name, expected, actual, comparison)
    if expected.exact:
        return _exact(name, expected, actual, comparison)
    return _within_floor(name, expected, actual, comparison)


def decisions(comparison: Comparison) -> Difference | None:
    """No decision differs from training's, ties apart (margin within twice the tolerance)."""
    name, expected, actual = sides(comparison)
    hindered = incomparable(name, expected, actual)
    if hindered is not None or expected is None or actual is None:
        return hindered
    if not expected.decides or is_random(comparison):
        return None
    if actual.decisions is None:
        return Difference(message=f"output {name}: its decisions were not compared", unknown=True)
    if actual.decisions.top != expected.top:
        told = f"output {name}: its top {expected.top} were not compared, but its top {actual.decisions.top}"
        return Difference(message=told, unknown=True, hint=_AGAIN)
    if _decided_alike(expected, actual, comparison):
        return None
    flipped, total = actual.decisions.flipped, actual.decisions.total
    share = f" ({flipped / total:.1%})" if total else ""
    return Difference(
        message=f"{flipped} of {total} {actual.decisions.words}{share} differ from training",
        expected=f"{total} of {total} as in training",
        actual=f"{total - flipped} of {total} as in training",
    )


def value_range(comparison: Comparison) -> Difference | None:
    """Probabilities lie in [0, 1] and sum to 1, where training's do."""
    name, expected, actual = sides(comparison)
    hindered = incomparable(name, expected, actual)
    if hindered is not None or expected is None or actual is None or not expected.probabilities:
        return hindered if expected is None or expected.probabilities else None
    if actual.low is None or actual.high is None or actual.sum_error is None:
        return Difference(
            message=f"output {name}: whether its probabilities lie in [0, 1] and sum to 1 was not measured",
            unknown=True,
            hint=_AGAIN,
        )
    slack = slack_of(name, expected, comparison)
    if -slack <= actual.low and actual.high <= 1 + slack and actual.sum_error <= slack:
        return None
    told = f"from {actual.low:.3g} to {actual.high:.3g}, sums off by {actual.sum_error:.3g}"
    return Difference(
        message=f"output {name} does not hold probabilities: {told}",
        expected=f"in [0, 1], sums off by at most {slack:.3g}",
        actual=told,
        impact="what reads them as probabilities decides wrongly",
    )


def batching(comparison: Comparison) -> Difference | None:
    """Samples run one by one give what they give in a batch, where training measured that."""
    name, expected, actual = sides(comparison)
    there = comparison.situation.reference.baseline.evidence.outputs.get(name)
    if expected is None or expected.exact or there is None or there.batching_rms is None:
        return None
    if is_random(comparison):
        return None
    hindered = incomparable(name, expected, actual)
    if hindered is not None or actual is None:
        return hindered
    allowed = batch_tolerance(expected, there, comparison)
    if allowed is None or actual.batching_rms is None or actual.batching_max is None:
        return Difference(
            message=f"output {name}: whether samples alone give what they give in a batch was not measured",
            unknown=True,
            left_out=True,
            hint="let the model run to its end, without --quick",
        )
    excess = max(excess_of(actual.batching_rms, allowed.rms), excess_of(actual.batching_max, allowed.max))
    if excess <= 1:
        return None
    return Difference(
        message=f"output {name}: samples alone differ from the same samples in a batch by "
        f"{_times(excess)} what is allowed",
        expected=f"RMSE <= {allowed.rms:.3g}, max <= {allowed.max:.3g}",
        actual=f"RMSE {actual.batching_rms:.3g}, max {actual.batching_max:.3g}",
        impact="what a sample gives depends on what else is in its batch",
    )


def order(comparison: Comparison) -> Difference | None:
    """Outputs come in training's order, for applications that take them by position."""
    baseline = comparison.situation.reference.baseline
    expected = [spec.name for spec in baseline.graph.outputs] or baseline.evidence.output_order
    actual = comparison.actual if isinstance(comparison.actual, list) else []
    if len(expected) < 2 or set(baseline.outputs) - set(expected):
        return None
    if not actual:
        return Difference(
            message="in which order the outputs come was not measured",
            unknown=True,
            left_out=True,
            hint=_AGAIN,
        )
    if [name for name in actual if name in expected] == [name for name in expected if name in actual]:
        return None
    return Difference(
        message=f"outputs come in another order: {', '.join(actual)} here, {', '.join(expected)} in training",
        expected=", ".join(expected),
        actual=", ".join(actual),
        impact="an application that takes them by position takes the wrong one",
        cause="another graph: the order of outputs does not depend on the machine",
        hint="take outputs by their names, or export the model with training's order",
    )


# The distance of an index that is none, or that stands twice in a ranking.
_NO_INDEX = 1e308
_AGAIN = "measure again with the newest envcheck: envcheck report --fresh"


def _decided_alike(expected: OutputReference, actual: OutputMetrics, comparison: Comparison) -> bool:
    if actual.decisions is None or actual.decisions.flipped == 0:
        return actual.decisions is not None
    allowed = tolerance_of(expected, comparison)
    return allowed is not None and actual.decisions.largest_margin <= 2 * allowed.max


def _exact(
    name: str, expected: OutputReference, actual: OutputMetrics, comparison: Comparison
) -> Difference | None:
    if actual.differing is None:
        return Difference(message=f"output {name} was not compared", unknown=True)
    if actual.differing == 0 or rounded_otherwise(expected, actual):
        return None
    tied = tie_tolerance(expected, comparison)
    if tied is not None:
        return _indices(name, actual, tied)
    by = f", by at most {actual.max_abs:g}" if expected.quantised and actual.max_abs is not None else ""
    return Difference(
        message=f"output {name}: {actual.differing} of {actual.elements} elements differ from training{by}",
        expected="all within one quantum, most equal" if expected.quantised else "all equal",
        actual=f"{actual.differing} differ{by}",
    )


def _indices(name: str, actual: OutputMetrics, tied: float) -> Difference | None:
    """Indices that differ: no fault where the scores that changed places are tied."""
    if actual.tie_gap is None:
        told = f"output {name}: whether the {actual.differing} indices that differ are ties was not measured"
        return Difference(message=told, unknown=True, hint=_AGAIN)
    if excess_of(actual.tie_gap, tied) <= 1:
        return None
    return Difference(
        message=f"output {name}: {actual.differing} of {actual.elements} indices differ from training, "
        "not by ties alone",
        expected=f"all equal, but for scores within {tied:.3g} of each other",
        actual=f"{actual.differing} differ"
        + (f", their scores by up to {actual.tie_gap:.3g}" if actual.tie_gap < _NO_INDEX else ""),
    )


def _within_floor(
    name: str, expected: OutputReference, actual: OutputMetrics, comparison: Comparison
) -> Difference | None:
    allowed = tolerance_of(expected, comparison)
    if allowed is None or actual.rmse is None or actual.max_abs is None:
        return Difference(message=f"output {name} was not compared", unknown=True)
    excess = [excess_of(actual.rmse, allowed.rms), excess_of(actual.max_abs, allowed.max)]
    if all(ratio <= 1 for ratio in excess):
        return None
    return Difference(
        message=f"output {name} is off by {_floors(max(excess), allowed)}",
        expected=f"RMSE <= {allowed.rms:.3g}, max <= {allowed.max:.3g}",
        actual=f"RMSE {actual.rmse:.3g}, max {actual.max_abs:.3g}",
    )


def _floors(excess: float, allowed: Tolerance) -> str:
    if math.isinf(excess):
        return f"more than nothing, and {allowed.basis} is 0"
    factor = f"{allowed.factor:g}"
    worst = f"{excess * allowed.factor:.3g}"
    if worst == factor:
        worst = f"{excess * allowed.factor:.5g}"
    return f"{worst}x {allowed.basis} ({factor}x allowed)"


def _times(excess: float) -> str:
    return "more than" if math.isinf(excess) else f"{excess:.3g}x"


OUTPUT_COMPARATORS = {
    "noise-floor": Comparator(noise_floor, FloorOptions, reads="evidence", measure=noise_floor_measures),
    "decisions": Comparator(decisions, FloorOptions, reads="evidence", measure=decision_measures),
    "order": Comparator(order, NoOptions, reads="evidence"),
    "range": Comparator(value_range, NoOptions, reads="evidence", measure=range_measures),
    "batching": Comparator(batching, FloorOptions, reads="evidence", measure=batching_measures),
}
