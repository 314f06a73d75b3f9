"""Comparators for facts that hold the device to what the model needs: known before anything is run."""

from __future__ import annotations

from envcheck.contract.opsets import is_version
from envcheck.judge.causes.endings import available_mib, opset_cause
from envcheck.judge.comparison import Comparator, Comparison, Difference, NoOptions
from envcheck.judge.paths import MISSING

_MIB_IN_MB = 1.048576


def opset(comparison: Comparison) -> Difference | None:
    """The device's onnxruntime knows the model's opset and IR version; where it was run, the run tells."""
    if comparison.situation.evidence is not None or comparison.situation.ended is not None:
        return None
    if not isinstance(comparison.actual, str) or not is_version(comparison.actual):
        return Difference(
            message="which onnxruntime would run the model is not known",
            unknown=True,
            hint="run `envcheck capture` on the device to see why",
        )
    cause = opset_cause(comparison.situation)
    if cause is None:
        return None
    graph = comparison.situation.reference.baseline.graph
    return Difference(
        message=cause.words,
        expected=f"opset {graph.opsets.get('', '?')}, IR version {graph.ir_version}",
        actual=f"onnxruntime {comparison.actual}",
        impact="the model can't be loaded",
        hint=cause.hint,
    )


def memory(comparison: Comparison) -> Difference | None:
    """The device has the memory that the model needed in training; where it was run, the run tells."""
    situation = comparison.situation
    baseline = situation.reference.baseline
    needs = baseline.readings.peak_memory_mb or baseline.graph.size / 1e6
    if situation.evidence is not None or situation.ended is not None or not needs:
        return None
    given = available_mib(situation)
    if given is None:
        return Difference(
            message="how much memory the device gives is not known",
            unknown=True,
            hint="run `envcheck capture` on the device to see why",
        )
    if given * _MIB_IN_MB >= needs:
        return None
    return Difference(
        message=f"memory will not suffice: the model needed {needs:.0f} MB in training, {given:.0f} MiB here",
        expected=f">= {needs:.0f} MB",
        actual=f"{given:.0f} MiB",
        impact="the model's process is killed, or fails",
        hint="raise the limit (MemoryMax= of the unit, --memory of the container), or use a smaller model",
    )


def conflict(comparison: Comparison) -> Difference | None:
    """Nothing of the section contradicts itself that did not do so in training."""
    if comparison.actual is MISSING:
        return None
    known = comparison.expected if isinstance(comparison.expected, list) else []
    told = comparison.actual if isinstance(comparison.actual, list) else [comparison.actual]
    new = [str(one) for one in told if one not in known]
    if not new:
        return None
    return Difference(
        message=f"onnxruntime is not one whole: {'; '.join(new)}"[:300],
        expected="nothing that contradicts itself",
        actual="; ".join(new)[:120],
    )


NEED_COMPARATORS = {
    "opset": Comparator(opset, NoOptions, absolute=True),
    "memory": Comparator(memory, NoOptions, absolute=True),
    "conflict": Comparator(conflict, NoOptions, absolute=True),
}
