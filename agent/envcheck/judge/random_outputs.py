"""Outputs of a model that draws random numbers: no two runs agree, so only what describes them is held."""

from __future__ import annotations

import math
from collections.abc import Iterator

from envcheck.contract.baseline import OutputReference
from envcheck.contract.evidence import OutputMetrics
from envcheck.contract.verdict import Measure, MeasureState
from envcheck.judge.comparison import Comparison, Difference

_DESCRIBED = ("low", "high", "mean", "deviation")
# Six standard errors of a difference: one false alarm in half a thousand million.
_SIGMAS = 6.0


def statistics(
    name: str, expected: OutputReference, actual: OutputMetrics, comparison: Comparison
) -> Difference | None:
    """Lowest, highest, mean and deviation are about those of training's own run."""
    if expected.dtype in ("string", "bool"):
        return None
    there = comparison.situation.reference.baseline.evidence.outputs.get(name)
    limits = _limits(there, comparison.options.statistics) if there is not None else None
    values = [getattr(actual, field) for field in _DESCRIBED]
    if there is None or limits is None or None in values:
        return Difference(
            message=f"output {name} can't be compared: the model draws random numbers, and what describes "
            "them was not measured",
            unknown=True,
            hint="create the baseline anew, and measure again: envcheck report --fresh",
        )
    off = [
        f"{field} {value:.3g} ({getattr(there, field):.3g} in training)"
        for field, value in zip(_DESCRIBED, values, strict=True)
        if not _distance(field, value, there) <= limits[field]
    ]
    if not off:
        return None
    return Difference(
        message=f"output {name} is random, and not as in training: {', '.join(off)}",
        expected=", ".join(f"{field} {getattr(there, field):.3g}" for field in _DESCRIBED),
        actual=", ".join(f"{field} {value:.3g}" for field, value in zip(_DESCRIBED, values, strict=True)),
    )


def statistics_measures(name: str, actual: OutputMetrics, comparison: Comparison) -> Iterator[Measure]:
    """How far each of the four is from training's, beside how far it may be."""
    there = comparison.situation.reference.baseline.evidence.outputs.get(name)
    limits = _limits(there, comparison.options.statistics) if there is not None else None
    for field in _DESCRIBED if there is not None and limits is not None else ():
        value = getattr(actual, field)
        if value is None or there is None or limits is None:
            continue
        distance = _distance(field, value, there)
        state: MeasureState = "pass" if distance <= limits[field] else "fail"
        yield Measure(output=name, metric=field, value=distance, tolerance=limits[field], state=state)


def _distance(field: str, value: float, there: OutputMetrics) -> float:
    """How far a number is from training's; an extreme that is less extreme is no distance."""
    away = value - float(getattr(there, field))
    if field == "low":
        return max(0.0, -away)
    return max(0.0, away) if field == "high" else abs(away)


def _limits(there: OutputMetrics, share: float) -> dict[str, float] | None:
    """How far each may be: a share of training's spread, and what chance does to so few elements."""
    if there.low is None or there.high is None or there.mean is None or there.deviation is None:
        return None
    chance = _SIGMAS * there.deviation * math.sqrt(2 / max(there.elements, 1))
    spread = share * (there.high - there.low) + chance
    middle = share * there.deviation + chance
    return {"low": spread, "high": spread, "mean": middle, "deviation": middle}
