"""Comparators for evidence: what the device measured beside what training measured."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from envcheck.contract.evidence import Evidence
from envcheck.contract.operators import heavy
from envcheck.contract.verdict import Measure
from envcheck.judge.comparison import Comparator, Comparison, Difference, NoOptions, Situation
from envcheck.judge.tolerance import CPU

# Three significant digits of an accuracy are kept: half a unit of the last must not decide.
_HALF_A_DIGIT = 0.0005
_NAMED = 4


class AccuracyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_drop`: how much lower than in training the accuracy may be (0.01 is one point)."""

    max_drop: float = 0.01


def accuracy(comparison: Comparison) -> Difference | None:
    """The accuracy on the baseline's labels is not lower than in training."""
    expected = comparison.situation.reference.baseline.evidence.accuracy
    actual = comparison.actual
    if expected is None:
        return None
    if not isinstance(actual, float | int):
        return Difference(message="the accuracy was not measured", expected=f"{expected:.3f}", unknown=True)
    if actual >= expected - comparison.options.max_drop - _HALF_A_DIGIT:
        return None
    return Difference(
        message=f"accuracy {actual:.3f} here, {expected:.3f} in training",
        expected=f"{expected:.3f}",
        actual=f"{actual:.3f}",
    )


def accuracy_measures(comparison: Comparison) -> Iterator[Measure]:
    """The accuracy beside the least that is allowed; lower than in training is drift."""
    expected = comparison.situation.reference.baseline.evidence.accuracy
    actual = comparison.actual
    if expected is None:
        return
    least = expected - comparison.options.max_drop
    if not isinstance(actual, float | int):
        yield Measure(metric="accuracy", tolerance=least, state="unknown")
    elif actual < least - _HALF_A_DIGIT:
        yield Measure(metric="accuracy", value=actual, tolerance=least, state="fail")
    else:
        drifted = actual < expected - _HALF_A_DIGIT
        yield Measure(metric="accuracy", value=actual, tolerance=least, state="drift" if drifted else "pass")


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
    named = [name for names in evidence.placement.astray.values() for name in names][:_NAMED]
    return Difference(
        message=f"heavy nodes did not run on {intended}: {listed}"
        + (f" ({'; '.join(named)})" if named else ""),
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


def fallback(comparison: Comparison) -> Difference | None:
    """Every provider that registered in training did so here; the first one is `placement`'s to judge."""
    evidence, baseline = comparison.situation.evidence, comparison.situation.reference.baseline
    if evidence is None:
        return None
    lost = [name for name in baseline.evidence.registered if name not in evidence.registered]
    lost = [name for name in lost if name != next(iter(baseline.providers), CPU)]
    if not lost:
        return None
    told = [f"{name} ({evidence.fallbacks[name]})" if name in evidence.fallbacks else name for name in lost]
    return Difference(
        message=f"providers of training did not register: {', '.join(told)}",
        expected=", ".join(baseline.evidence.registered),
        actual=", ".join(evidence.registered),
        impact="what they would have run falls to the next provider",
    )


def repeatable(comparison: Comparison) -> Difference | None:
    """Runs of the same inputs gave the same outputs, if they did in training."""
    if comparison.expected is False or comparison.actual is True:
        return None
    if comparison.actual is False:
        return Difference(message="runs of the same inputs gave different outputs")
    return Difference(
        message="whether runs of the same inputs give the same was not measured",
        unknown=True,
        left_out=True,
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


EVIDENCE_COMPARATORS = {
    "accuracy": Comparator(accuracy, AccuracyOptions, reads="evidence", measure=accuracy_measures),
    "fallback": Comparator(fallback, NoOptions, reads="evidence"),
    "placement": Comparator(placement, NoOptions, reads="evidence"),
    "repeatable": Comparator(repeatable, NoOptions, reads="evidence"),
    "saturation": Comparator(saturation, NoOptions, reads="evidence"),
}
