"""Comparators for evidence: what the device measured beside what training measured."""

from __future__ import annotations

import msgspec

from envcheck.contract.baseline import OutputReference
from envcheck.contract.evidence import Evidence, OutputMetrics
from envcheck.judge.comparison import Comparator, Comparison, Difference, NoOptions, Situation
from envcheck.judge.paths import MISSING
from envcheck.judge.tolerance import CPU, FloorOptions, Tolerance, tolerance

# Operators whose provider decides speed and numbers. onnxruntime places shape arithmetic on the CPU on
# purpose, so other operators are not looked at.
HEAVY = frozenset(
    (
        *("Conv", "ConvTranspose", "ConvInteger", "FusedConv", "NhwcConv", "NhwcFusedConv", "QLinearConv"),
        *("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
        *("QLinearMatMul", "MatMulNBits", "Gemm", "FusedGemm", "QGemm", "Einsum"),
        *("Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"),
        *("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"),
    )
)


class AccuracyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_drop`: how much lower than in training the accuracy may be (0.01 is one point)."""

    max_drop: float = 0.01


def noise_floor(comparison: Comparison) -> Difference | None:
    """The output is within k noise floors of its reference (exact types: equal)."""
    expected = comparison.situation.reference.baseline.outputs.get(comparison.path[-1])
    actual = comparison.actual
    name = comparison.path[-1]
    if expected is None:
        return Difference(message=f"output {name} is not one of training's")
    if not isinstance(actual, OutputMetrics):
        return Difference(message=f"output {name} is missing")
    if actual.problem:
        return Difference(
            message=f"output {name}: {actual.detail or actual.problem}",
            expected=f"{expected.dtype} {expected.shape}",
            actual=f"{actual.dtype} {actual.shape}",
        )
    if comparison.situation.reference.baseline.graph.random:
        return None
    if expected.exact:
        return _exact(name, actual)
    return _within_floor(name, expected, actual, comparison)


def decisions(comparison: Comparison) -> Difference | None:
    """No decision differs from training's, ties apart (margin within twice the tolerance)."""
    name = comparison.path[-1]
    expected = comparison.situation.reference.baseline.outputs.get(name)
    actual = comparison.actual
    if expected is None or not expected.decides or not isinstance(actual, OutputMetrics) or actual.problem:
        return None
    if actual.decisions is None:
        return Difference(message=f"output {name}: its decisions were not compared", unknown=True)
    flipped, total = actual.decisions.flipped, actual.decisions.total
    allowed = _tolerance(expected, comparison)
    if not flipped or (allowed is not None and actual.decisions.largest_margin <= 2 * allowed.max):
        return None
    return Difference(
        message=f"{flipped} of {total} decisions ({flipped / total:.1%}) differ from training",
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
        )
    if evidence.placement.source == "none":
        if evidence.registered == [CPU]:
            return None
        return Difference(message="which provider ran each node is not proven", unknown=True)
    astray = strays(evidence, intended)
    if not astray:
        return None
    listed = ", ".join(f"{count} {operator} on {provider}" for provider, operator, count in astray)
    return Difference(
        message=f"heavy nodes did not run on {intended}: {listed}",
        expected=intended,
        actual=listed,
        impact="right numbers, perhaps many times slower",
    )


def strays(evidence: Evidence, intended: str) -> list[tuple[str, str, int]]:
    """List heavy nodes that ran elsewhere than on `intended`: provider, operator type, number."""
    return [
        (provider, operator, count)
        for provider, operators in sorted(evidence.placement.nodes.items())
        if provider != intended
        for operator, count in sorted(operators.items())
        if operator.rpartition(":")[2] in HEAVY
    ]


def repeatable(comparison: Comparison) -> Difference | None:
    """Runs of the same inputs gave the same outputs, if they did in training."""
    if comparison.actual is not False or comparison.expected is False:
        return None
    return Difference(message="runs of the same inputs gave different outputs")


def saturation(comparison: Comparison) -> Difference | None:
    """Int8 products do not saturate, if the model has U8S8 nodes."""
    nodes = saturating_nodes(comparison.situation)
    if comparison.actual is MISSING and saturable_nodes(comparison.situation):
        return Difference(message="whether int8 products saturate was not measured", unknown=True)
    if not nodes:
        return None
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
    return saturable_nodes(situation)


def saturable_nodes(situation: Situation) -> int:
    """Return how many nodes of the model multiply uint8 by int8."""
    quantised = situation.reference.baseline.graph.quantised
    return quantised.get("U8S8", 0) or quantised.get("QDQ", 0)


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
    if actual.rmse <= allowed.rms and actual.max_abs <= allowed.max:
        return None
    worst = max(actual.rmse / allowed.rms, actual.max_abs / allowed.max) * allowed.factor
    return Difference(
        message=f"output {name} is off by {worst:.3g}x {allowed.basis} ({allowed.factor:g}x allowed)",
        expected=f"RMSE <= {allowed.rms:.3g}, max <= {allowed.max:.3g}",
        actual=f"RMSE {actual.rmse:.3g}, max {actual.max_abs:.3g}",
    )


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
