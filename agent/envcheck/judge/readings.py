"""Readings held to their terms: budgets, training's own timings, the deployed model. Cheap: once a device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime

from envcheck.contract.document import Value
from envcheck.contract.figures import figure
from envcheck.contract.verdict import Finding
from envcheck.contract.wire import Result
from envcheck.judge.causes.cause import Cause
from envcheck.judge.terms import Terms, p50_for

# What a figure is called, and its unit.
_FIGURES = {
    "p50_ms": ("latency p50", "ms"),
    "p90_ms": ("latency p90", "ms"),
    "peak_memory_mb": ("peak memory", "MB"),
    "throughput": ("throughput", "samples/s"),
}
_FRESH = "then measure again: envcheck report --fresh"


class DeviceReadings(Value, frozen=True, kw_only=True):
    """What of a device changes by the minute: when it was last heard of, and its result's timings.

    `seen_at` is None when age does not count (two files beside each other). `model` is the digest of the
    deployed model file, "" when none is named; `model_problem` says why a named one could not be read.
    """

    seen_at: datetime | None = None
    result: Result | None = None
    model: str = ""
    model_problem: str = ""


def judge_readings(readings: DeviceReadings, terms: Terms) -> Iterator[Finding]:
    """Find what of a device's readings is beyond its terms, or not known."""
    if terms.open:
        yield Finding(
            rule="budgets",
            path="readings",
            severity="block",
            unknown=True,
            message=f"which budget holds is not known: {terms.open}",
            hint="run: envcheck report",
        )
    measured = _measured(readings.result, terms.samples)
    for name, actual in measured.items():
        limit = getattr(terms.budget, name)
        if limit is not None and (actual is None or not _keeps(name, measured, limit, terms.samples)):
            yield _beyond(name, limit, actual, readings.result, terms)
    yield from _slower_than_training(measured["p50_ms"], readings.result, terms)
    if readings.model_problem:
        yield _unread_model(readings.model_problem)
    elif readings.model and terms.model and readings.model != terms.model:
        yield _another_model(readings.model, terms.model)


def _measured(result: Result | None, samples: int) -> dict[str, float | None]:
    """Return the figures that budgets are about; None for what was not measured."""
    latency = result.latency if result is not None else None
    p50 = _figure(latency.p50_ms if latency is not None else None)
    return {
        "p50_ms": p50,
        "p90_ms": _figure(latency.p90_ms if latency is not None else None),
        "peak_memory_mb": _figure(result.peak_memory_mb if result is not None else None),
        "throughput": 1000 * samples / p50 if p50 else None,
    }


def _figure(value: float | None) -> float | None:
    """What is no number of milliseconds or megabytes was not measured."""
    return value if value is not None and 0 <= value < math.inf else None


def _keeps(name: str, measured: Mapping[str, float | None], limit: float, samples: int) -> bool:
    # Throughput is judged by the median latency that it stands for, where `limits_of` draws its line.
    name, limit = ("p50_ms", p50_for(limit, samples)) if name == "throughput" else (name, limit)
    actual = measured[name]
    return actual is not None and actual <= limit


def _beyond(name: str, limit: float, actual: float | None, result: Result | None, terms: Terms) -> Finding:
    label, unit = _FIGURES[name]
    timed = name != "peak_memory_mb"
    # What slows down only slows down: what is within the budget holds, what is beyond it proves nothing.
    slowed = timed and _is_slowed(result)
    why = Cause("")
    if actual is None:
        message, hint = _not_measured(name, result)
        why = Cause("", hint)
    elif slowed:
        message = f"{label} {figure(actual)} {unit} was measured while the device throttled"
        message += f" (budget {limit:g} {unit})"
        why = _slowed(result)
    else:
        message = f"{label} {figure(actual)} {unit}, budget {limit:g} {unit}"
        why = (terms.slow if timed else None) or why
    return Finding(
        rule=f"budget.{name}",
        path=f"readings.{name}",
        severity="block",
        unknown=slowed or actual is None,
        message=message,
        expected=f"{'>=' if name == 'throughput' else '<='} {limit:g} {unit}",
        actual="" if actual is None else f"{figure(actual)} {unit}",
        cause=why.words,
        hint=why.hint,
    )


def _slower_than_training(p50: float | None, result: Result | None, terms: Terms) -> Iterator[Finding]:
    """Hold the median latency to training's own on the same class of devices."""
    timing, trained = terms.timing, terms.trained_p50_ms
    if timing is None or not trained or (p50 is None and timing.severity != "block"):
        return
    if p50 is not None and p50 <= timing.factor * trained:
        return
    slowed = _is_slowed(result)
    if p50 is None:
        message, hint = _not_measured("p50_ms", result)
        why = Cause("", hint)
    else:
        why = _slowed(result) if slowed else terms.slow or Cause("")
        message = f"latency p50 {figure(p50)} ms here, {figure(trained)} ms in training on such a device"
        message += " (measured while the device throttled)" if slowed else ""
    yield Finding(
        rule="timing",
        path="readings.p50_ms",
        severity=timing.severity,
        unknown=slowed or p50 is None,
        message=message,
        expected=f"<= {timing.factor:g} x {figure(trained)} ms ({terms.device_class})",
        actual="" if p50 is None else f"{figure(p50)} ms",
        cause=why.words,
        hint=why.hint,
    )


def _is_slowed(result: Result | None) -> bool:
    return result is not None and bool(result.throttled or result.starved)


def _slowed(result: Result | None) -> Cause:
    """Say what slowed the device down while the model ran, and what to do about it."""
    if result is not None and result.starved:
        return Cause(
            "a CPU quota withheld processor time while the model ran",
            f"raise the quota (CPUQuota= of the unit, --cpus of the container), {_FRESH}",
        )
    return Cause(
        "heat or power slowed the processor down while the model ran",
        f"see to its cooling and power supply, {_FRESH}",
    )


def _not_measured(name: str, result: Result | None) -> tuple[str, str]:
    """Say that a figure is missing and why, and how to get it."""
    label, _ = _FIGURES[name]
    if name == "p90_ms" and result is not None and result.latency is not None:
        runs = result.latency.runs
        return (
            f"{label} was not measured: {runs} runs are too few for it",
            "make a full run: no --quick, no `smoke_quick`",
        )
    return f"{label} was not measured", "run the model on the device: envcheck report --fresh"


def _unread_model(problem: str) -> Finding:
    return Finding(
        rule="model",
        path="readings.model",
        severity="block",
        unknown=True,
        message=f"whether the deployed model file is the released one is not known: {problem}",
        hint="name the right file (`model` in the configuration), and let this user read it",
    )


def _another_model(here: str, released: str) -> Finding:
    return Finding(
        rule="model",
        path="readings.model",
        severity="block",
        message=f"another model file is deployed: {here[:12]} here, {released[:12]} was released",
        expected=released,
        actual=here,
        impact="what was measured is the released model, not the one that serves",
        cause="another model file lies where the released one should",
        hint="deploy the model of this release, or name the right file (`model` in the configuration)",
    )
