"""What was looked at beside the findings: silence could mean that nobody looked.

`ok` stands only before what the policy judges and found to be right; what was measured and is not judged
is `seen`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from envcheck.contract.baseline import Baseline
from envcheck.contract.evidence import Evidence, SmokeReadings
from envcheck.contract.figures import figure
from envcheck.contract.policy import Policy
from envcheck.contract.text import inert
from envcheck.contract.verdict import Verdict
from envcheck.output.subjects import SUBJECTS

_UNJUDGED = "not judged by this policy"


class Measured(NamedTuple):
    """What a run measured, and what it was held to."""

    baseline: Baseline
    evidence: Evidence
    readings: SmokeReadings


class Line(NamedTuple):
    """One line: `ok` or `seen`, what it is about, and what was found."""

    word: str
    label: str
    text: str


def looked_at(verdict: Verdict, policy: Policy, measured: Measured | None) -> Iterator[Line]:
    """Yield what the policy judges and no finding speaks of, then what was only measured."""
    # What a quick run leaves out is told, and takes nothing from what it did measure.
    spoken = [one for one in verdict.findings if not (one.unknown and one.severity == "info")]
    told = {_subject(finding.path) for finding in (*spoken, *verdict.waived)}
    sections = [name for name in _sections(policy) if name not in told]
    lines: list[Line] = []
    if "evidence" not in told and measured is not None and measured.evidence.ending.status == "ok":
        judged = {rule.compare for rule in policy.rules if policy.evidence == "required"}
        lines = [
            line
            for line in (*_evidence(measured, judged), *_readings(measured.readings, policy))
            if line.label not in told
        ]
    yield from (line for line in lines if line.word == "ok")
    if sections and "fingerprint" not in told:
        yield Line("ok", "facts", f"{', '.join(sections)}: as this policy wants")
    yield from (line for line in lines if line.word != "ok")


def _subject(path: str) -> str:
    if path.startswith("evidence.outputs."):
        return "outputs"
    if path in ("evidence", "evidence.ending"):
        return "evidence"
    return SUBJECTS.get(path, path if path.startswith("evidence.") else path.partition(".")[0])


def _sections(policy: Policy) -> list[str]:
    names = (rule.path.partition(".")[0] for rule in policy.rules)
    return list(dict.fromkeys(name for name in names if name != "evidence"))


def _evidence(measured: Measured, judged: set[str]) -> Iterator[Line]:
    baseline, evidence = measured.baseline, measured.evidence
    if evidence.outputs:
        text = ", ".join(outputs_line(baseline, evidence))
        yield _line("outputs", text, {"noise-floor", "decisions"} & judged)
    if evidence.accuracy is not None:
        trained = baseline.evidence.accuracy
        beside = "" if trained is None else f" ({trained:.3f} in training)"
        known = trained is not None and "accuracy" in judged
        yield _line("accuracy", f"{evidence.accuracy:.3f}{beside}", known)
    if evidence.registered:
        text = _providers(baseline, evidence, judged="placement" in judged)
        yield _line("providers", text, "placement" in judged)
    if evidence.repeatable is not None:
        same = "gave the same" if evidence.repeatable else "gave different outputs"
        yield _line("repeats", f"runs of the same inputs {same}", "repeatable" in judged)
    if baseline.graph.saturable and evidence.canaries.get("u8s8"):
        yield _line("int8 products", evidence.canaries["u8s8"], "saturation" in judged)


def _line(label: str, text: str, judged: object) -> Line:
    return Line("ok", label, text) if judged else Line("seen", label, f"{text} ({_UNJUDGED})")


def _providers(baseline: Baseline, evidence: Evidence, *, judged: bool) -> str:
    """Say where the heavy nodes ran; only the judge's silence tells that they ran as in training."""
    if not judged:
        return ", ".join(evidence.registered)
    first = next(iter(baseline.providers), evidence.registered[0])
    elsewhere = any(nodes and name != first for name, nodes in evidence.placement.nodes.items())
    return f"{'heavy nodes' if elsewhere else 'every node'} on {first}, as in training"


def _readings(readings: SmokeReadings, policy: Policy) -> Iterator[Line]:
    budget = policy.budget
    if readings.latency is not None:
        limits = [
            f"{name} {milliseconds(limit)}"
            for name, limit in (("p50", budget.p50_ms), ("p90", budget.p90_ms))
            if limit is not None
        ]
        throttled = ", throttled meanwhile" if readings.throttled or readings.starved else ""
        yield _budgeted("latency", latency_line(readings) + throttled, ", ".join(limits))
    if readings.throughput is not None:
        limit = "" if budget.throughput is None else f"{budget.throughput:g} samples/s"
        yield _budgeted("throughput", f"{figure(readings.throughput)} samples/s", limit)
    if readings.peak_memory_mb is not None:
        limit = "" if budget.peak_memory_mb is None else f"{budget.peak_memory_mb:g} MB"
        yield _budgeted("memory", f"{readings.peak_memory_mb:.0f} MB at most", limit)


def _budgeted(label: str, text: str, limit: str) -> Line:
    return Line("ok" if limit else "seen", label, f"{text} ({f'budget {limit}' if limit else 'no budget'})")


def outputs_line(baseline: Baseline, evidence: Evidence) -> Iterator[str]:
    """Yield one phrase per output: its error in floors, and its decisions."""
    for name, metrics in sorted(evidence.outputs.items()):
        reference = baseline.outputs.get(name)
        phrase = inert(name)
        if reference is not None and reference.floor is not None and metrics.rmse is not None:
            phrase += f" {in_floors(metrics.rmse, reference.floor.rms)} {floor_words(reference.floor.basis)}"
        elif metrics.differing is not None:
            phrase += " equal" if metrics.differing == 0 else f" {metrics.differing} differ"
            if reference is not None and reference.quantised and metrics.differing and metrics.within_quantum:
                phrase += f", {100 * metrics.within_quantum:.3g}% within one quantum"
            if metrics.differing and metrics.tie_gap is not None:
                phrase += f", scores that changed places by {figure(metrics.tie_gap)}"
        elif metrics.problem:
            phrase += f" can't be compared: {metrics.detail or metrics.problem}"
        decisions = metrics.decisions
        if decisions is not None:
            agreeing = decisions.total - decisions.flipped
            phrase += f"; {agreeing} of {decisions.total} {decisions.words} as in training"
        yield phrase


def in_floors(error: float, floor: float) -> str:
    """Write an RMSE as a multiple of the floor."""
    if floor > 0:
        return f"RMSE {error / floor:.2g}x"
    return "RMSE 0x" if error == 0 else f"RMSE {error:.2g} over a floor of 0:"


def floor_words(basis: str) -> str:
    """Say what a floor is."""
    words_for = {"quantisation-error": "the quantisation error", "quantum": "half a quantum's effect"}
    return words_for.get(basis, "the noise floor")


def latency_line(readings: SmokeReadings) -> str:
    """Write the latency: p50 always, p90 and p99 where there were runs enough."""
    latency = readings.latency
    if latency is None:
        return "not measured"
    told = {"p50": latency.p50_ms, "p90": latency.p90_ms, "p99": latency.p99_ms}
    known = ", ".join(f"{name} {milliseconds(value)}" for name, value in told.items() if value is not None)
    runs = "1 run" if latency.runs == 1 else f"{latency.runs} runs"
    return f"{known} over {runs}"


def milliseconds(value: float) -> str:
    """Write a time with three digits, in seconds from one second on."""
    return f"{figure(value)} ms" if value < 1000 else f"{value / 1000:.3g} s"
