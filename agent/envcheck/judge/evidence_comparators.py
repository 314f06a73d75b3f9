"""Comparators for evidence: what the device measured beside what training measured."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from envcheck.contract.baseline import OutputReference
from envcheck.contract.evidence import Evidence, OutputMetrics
from envcheck.contract.operators import heavy
from envcheck.judge.comparison import Comparator, Comparison, Difference, NoOptions, Situation
from envcheck.judge.tolerance import CPU, FloorOptions, Tolerance, tolerance

_FUZZ = 1e-9


class AccuracyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_drop`: how much lower than in training the accuracy may be (0.01 is one point)."""

    max_drop: float = 0.01


def noise_floor(comparison: Comparison) -> Difference | None:
    """The output is within k noise floors of its reference (exact types: equal)."""
    name = comparison.path[-1]
    expected = comparison.situation.reference.baseline.outputs.get(name)
    actual = comparison.actual
    incomparable = _incomparable(name, expected, actual, comparison)
    if incomparable is not None or expected is None:
        return incomparable
    return _exact(name, actual) if expected.exact else _within_floor(name, expected, actual, comparison)


def _incomparable(
    name: str, expected: OutputReference | None, actual: Any, comparison: Comparison
) -> Difference | None:
    """Say why an output can't be held to its reference number by number."""
    if expected is None:
        return Difference(message=f"output {name} is not one of training's")
    if not isinstance(actual, OutputMetrics):
        return Difference(message=f"output {name} is missing")
    described = [f"{one.dtype} {one.shape}" for one in (expected, actual)]
    if actual.problem or described[0] != described[1]:
        detail = actual.detail or actual.problem or f"it is {described[1]} here, {described[0]} in training"
        return Difference(message=f"output {name}: {detail}", expected=described[0], actual=described[1])
    if comparison.situation.reference.baseline.graph.random:
        return Difference(
            message=f"output {name} can't be compared: the model draws random numbers", unknown=True
        )
    return None


def decisions(comparison: Comparison) -> Difference | None:
    """No decision differs from training's, ties apart (margin within twice the tolerance)."""
    name = comparison.path[-1]
    expected = comparison.situation.reference.baseline.outputs.get(name)
    actual = comparison.actual
    incomparable = _incomparable(name, expected, actual, comparison)
    if incomparable is not None or expected is None:
        return incomparable
    if not expected.decides:
        return None
    if actual.decisions is None:
        return Difference(message=f"output {name}: its decisions were not compared", unknown=True)
    flipped, total = actual.decisions.flipped, actual.decisions.total
    allowed = _tolerance(expected, comparison)
    if flipped == 0 or (allowed is not None and actual.decisions.largest_margin <= 2 * allowed.max):
        return None
    share = f" ({flipped / total:.1%})" if total else ""
    return Difference(
        message=f"{flipped} of {total} decisions{share} differ from training",
        expected=f"{total} of {total} as in training",
        actual=f"{total - flipped} of {total} as in training",
    )


def accuracy(comparison: Comparison) -> Difference | None:
    """The accuracy on the baseline's labels is not lower than in training."""
    expected = comparison.situation.reference.baseline.evidence.accuracy
    actual = comparison.actual
    if expected is None:
        return None
    if not isinstance(actual, float | int):
        return Difference(message="the accuracy was not measured", expected=f"{expected:.3f}", unknown=True)
    # Three significant digits are kept: half a unit of the last must not decide.
    if actual >= expected - comparison.options.max_drop - 0.0005:
        return None
    return Difference(
        message=f"accuracy {actual:.3f} here, {expected:.3f} in training",
        expected=f"{expected:.3f}",
        actual=f"{actual:.3f}",
    )


def placement(comparison: Comparison) -> Difference | None:
    """Every heavy node ran on the provider that training intended."""
    evidence = comparison.situation.evidence
    baseline = comparison.situation.reference.baseline
    if evidence is None:
        return None
    intended = baseline.providers[0] if baseline.providers else CPU
    registered = ", ".join(evidence.registered)
    if intended not in evidence.registered:
        return Difference(
            message=f"{intended} was not used: the session ran on {registered or 'nothing'}",
            expected=intended,
            actual=registered,
            impact="right numbers, perhaps many times slower",
            cause=evidence.ending.reason,
        )
    astray = strays(evidence, intended, baseline.evidence)
    if not astray:
        if evidence.registered == [intended] or _ran_on(intended, evidence):
            return None
        return Difference(
            message=f"which provider ran each node is not proven: none is known to have run on {intended}",
            unknown=True,
        )
    listed = ", ".join(f"{count} {operator} on {provider}" for provider, operator, count in astray)
    return Difference(
        message=f"heavy nodes did not run on {intended}: {listed}",
        expected=intended,
        actual=listed,
        impact="right numbers, perhaps many times slower",
    )


def strays(evidence: Evidence, intended: str, training: Evidence) -> list[tuple[str, str, int]]:
    """List heavy nodes that ran elsewhere than on `intended`: provider, operator type, number.

    A provider may run as many heavy nodes as it did in training: some are beyond what `intended` knows.
    """
    # A training side of which nothing is known to have run there allows nothing.
    there = training.placement.nodes if _ran_on(intended, training) else {}
    found = []
    for provider, operators in sorted(evidence.placement.nodes.items()):
        placed = heavy(operators)
        allowed = heavy(there.get(provider, {}))
        if provider != intended and sum(placed.values()) > sum(allowed.values()):
            found += [(provider, operator, count) for operator, count in sorted(placed.items())]
    return found


def _ran_on(provider: str, evidence: Evidence) -> bool:
    return evidence.placement.source != "none" and bool(evidence.placement.nodes.get(provider))


def repeatable(comparison: Comparison) -> Difference | None:
    """Runs of the same inputs gave the same outputs, if they did in training."""
    if comparison.expected is False or comparison.actual is True:
        return None
    if comparison.actual is False:
        return Difference(message="runs of the same inputs gave different outputs")
    return Difference(
        message="whether runs of the same inputs give the same was not measured",
        unknown=True,
        hint="let the model run to its end, without --quick",
    )


def saturation(comparison: Comparison) -> Difference | None:
    """Int8 products do not saturate, if the model has nodes of them."""
    nodes = comparison.situation.reference.baseline.graph.saturable
    if not nodes or comparison.actual == "exact":
        return None
    if comparison.actual != "saturates":
        found = "was not measured" if not comparison.actual else f"is not clear: {comparison.actual}"
        return Difference(
            message=f"whether int8 products saturate {found}",
            unknown=True,
            hint="run `envcheck smoke` on the device: the canaries did not",
        )
    return Difference(
        message=f"int8 products saturate on this CPU, and the model has {nodes} nodes of them",
        expected="exact",
        actual="saturates",
        impact="wrong integers without an error",
        hint=SATURATION_HINT,
    )


SATURATION_HINT = (
    "quantise with uint8 weights or reduce_range, set session.x64quantprecision, or choose devices with VNNI"
)


def saturating_nodes(situation: Situation) -> int:
    """Return how many nodes of the model saturate on this device: 0 unless the canary proved it."""
    if situation.evidence is None or situation.evidence.canaries.get("u8s8") != "saturates":
        return 0
    return situation.reference.baseline.graph.saturable


def _exact(name: str, actual: OutputMetrics) -> Difference | None:
    if actual.differing is None:
        return Difference(message=f"output {name} was not compared", unknown=True)
    if actual.differing == 0:
        return None
    return Difference(
        message=f"output {name}: {actual.differing} of {actual.elements} elements differ from training",
        expected="all equal",
        actual=f"{actual.differing} differ",
    )


def _within_floor(
    name: str, expected: OutputReference, actual: OutputMetrics, comparison: Comparison
) -> Difference | None:
    allowed = _tolerance(expected, comparison)
    if allowed is None or expected.floor is None or actual.rmse is None or actual.max_abs is None:
        return Difference(message=f"output {name} was not compared", unknown=True)
    excess = [_ratio(actual.rmse, allowed.rms), _ratio(actual.max_abs, allowed.max)]
    if all(ratio <= 1 for ratio in excess):
        return None
    return Difference(
        message=f"output {name} is off by {_floors(max(excess), allowed)}",
        expected=f"RMSE <= {allowed.rms:.3g}, max <= {allowed.max:.3g}",
        actual=f"RMSE {actual.rmse:.3g}, max {actual.max_abs:.3g}",
    )


def _ratio(error: float, allowed: float) -> float:
    """How many times what is allowed; a share at the limit is not above it for a rounding of ours."""
    if error == 0:
        return 0.0
    ratio = error / allowed if allowed > 0 else math.inf
    return 1.0 if abs(ratio - 1) < _FUZZ else ratio


def _floors(excess: float, allowed: Tolerance) -> str:
    if math.isinf(excess):
        return f"more than nothing, and {allowed.basis} is 0"
    factor = f"{allowed.factor:g}"
    worst = f"{excess * allowed.factor:.3g}"
    if worst == factor:
        worst = f"{excess * allowed.factor:.5g}"
    return f"{worst}x {allowed.basis} ({factor}x allowed)"


def _tolerance(expected: OutputReference, comparison: Comparison) -> Tolerance | None:
    evidence = comparison.situation.evidence
    if expected.floor is None or evidence is None:
        return None
    return tolerance(expected, expected.floor, comparison.situation.reference, evidence, comparison.options)


EVIDENCE_COMPARATORS = {
    "noise-floor": Comparator(noise_floor, FloorOptions, reads="evidence"),
    "decisions": Comparator(decisions, FloorOptions, reads="evidence"),
    "accuracy": Comparator(accuracy, AccuracyOptions, reads="evidence"),
    "placement": Comparator(placement, NoOptions, reads="evidence"),
    "repeatable": Comparator(repeatable, NoOptions, reads="evidence"),
    "saturation": Comparator(saturation, NoOptions, reads="evidence"),
}
