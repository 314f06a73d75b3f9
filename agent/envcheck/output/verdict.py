"""A verdict for people: what blocks, why and how to mend it first; then what is as in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from envcheck.contract.baseline import Baseline
from envcheck.contract.evidence import Evidence, SmokeReadings
from envcheck.contract.text import inert
from envcheck.contract.verdict import Finding, Verdict
from envcheck.output.console import columns, state, words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_SUBJECTS = {
    "evidence": "run",
    "evidence.ending": "run",
    "evidence.accuracy": "accuracy",
    "evidence.placement": "providers",
    "evidence.repeatable": "repeats",
    "evidence.canaries.u8s8": "int8 products",
    "readings.p50_ms": "latency",
    "readings.p90_ms": "latency",
    "readings.peak_memory_mb": "memory",
}
_OUTCOME_COUNTS = (("block", False, "block"), ("block", True, "unknown"), ("warn", None, "warn"))


class Measured(NamedTuple):
    """What a run measured, for the lines that say what is as in training."""

    baseline: Baseline
    evidence: Evidence
    readings: SmokeReadings


def verdict_text(verdict: Verdict, title: str, measured: Measured | None, exit_code: int) -> RenderableType:
    """Return the whole screen for one verdict. `title` names the device and what serves the model."""
    from rich.console import Group
    from rich.text import Text

    grid = columns()
    told = [finding for finding in verdict.findings if finding.severity != "info"]
    for finding, following in zip(told, [*told[1:], None], strict=False):
        _add_finding(grid, finding)
        if following is None or _reasons(following) != _reasons(finding):
            _add_reasons(grid, finding)
    for finding in verdict.waived:
        grid.add_row("  waived", words(subject(finding.path)), words(finding.message, "dim"))
    if measured is not None:
        for label, text in _as_in_training(verdict, measured):
            grid.add_row(Text.assemble("  ", state("ok")), label, words(text))
    info = [finding for finding in verdict.findings if finding.severity == "info"]
    if info:
        grid.add_row(Text.assemble("  ", state("info")), *_info_line(info))
    return Group(words(title, "bold"), Text(""), grid, Text(""), _last_line(verdict, exit_code))


def subject(path: str) -> str:
    """Return the short name of what a finding is about."""
    if path in _SUBJECTS:
        return _SUBJECTS[path]
    if path.startswith("evidence.outputs."):
        return "outputs"
    return path.removesuffix(".version")


def _add_finding(grid: Table, finding: Finding) -> None:
    from rich.text import Text

    word: str = finding.severity
    if word == "block":
        word = "UNKNOWN" if finding.unknown else "FAIL"
    message = finding.message
    if finding.impact:
        message = f"{message} ({finding.impact})"
    grid.add_row(Text.assemble("  ", state(word)), words(subject(finding.path)), words(message))


def _reasons(finding: Finding) -> tuple[str, str]:
    """Return why a finding is so and how to mend it: several findings in a row may share both."""
    return finding.cause, finding.hint if finding.severity == "block" else ""


def _add_reasons(grid: Table, finding: Finding) -> None:
    from rich.text import Text

    for label, text in zip(("cause", "mend"), _reasons(finding), strict=True):
        if text:
            grid.add_row("", Text(label, style="dim"), words(text))


def _as_in_training(verdict: Verdict, measured: Measured) -> Iterator[tuple[str, str]]:
    """Say what was looked at and found as in training: silence could mean that nobody looked."""
    told = {subject(finding.path) for finding in verdict.findings if finding.severity != "info"}
    evidence, readings = measured.evidence, measured.readings
    if evidence.ending.status != "ok":
        return
    if "outputs" not in told and evidence.outputs:
        yield "outputs", ", ".join(outputs_line(measured.baseline, evidence))
    if "accuracy" not in told and evidence.accuracy is not None:
        trained = measured.baseline.evidence.accuracy
        yield "accuracy", f"{evidence.accuracy:.3f}" + (f" ({trained:.3f} in training)" if trained else "")
    if "providers" not in told:
        yield "providers", f"every heavy node on {', '.join(evidence.registered[:1])}, as in training"
    if "latency" not in told and readings.latency is not None:
        yield "latency", latency_line(readings)
    if "memory" not in told and readings.peak_memory_mb is not None:
        yield "memory", f"{readings.peak_memory_mb:.0f} MB at most"


def outputs_line(baseline: Baseline, evidence: Evidence) -> Iterator[str]:
    """Yield one phrase per output: its error in floors, and its decisions."""
    for name, metrics in sorted(evidence.outputs.items()):
        reference = baseline.outputs.get(name)
        phrase = inert(name)
        if reference is not None and reference.floor is not None and metrics.rmse is not None:
            phrase += f" {in_floors(metrics.rmse, reference.floor.rms)} {floor_words(reference.floor.basis)}"
        elif metrics.differing is not None:
            phrase += " equal" if metrics.differing == 0 else f" {metrics.differing} differ"
        decisions = metrics.decisions
        if decisions is not None:
            agreeing = decisions.total - decisions.flipped
            phrase += f"; {agreeing} of {decisions.total} decisions as in training"
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
    """Write the latency: p50 always, p90 where there were runs enough."""
    latency = readings.latency
    if latency is None:
        return "not measured"
    p90 = f", p90 {milliseconds(latency.p90_ms)}" if latency.p90_ms is not None else ""
    runs = "1 run" if latency.runs == 1 else f"{latency.runs} runs"
    return f"p50 {milliseconds(latency.p50_ms)}{p90} over {runs}"


def milliseconds(value: float) -> str:
    """Write a time with three digits, in seconds from one second on."""
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def _info_line(info: list[Finding]) -> tuple[str, Text]:
    shown = ", ".join(subject(finding.path) for finding in info[:4])
    more = f" and {len(info) - 4} more" if len(info) > 4 else ""
    noun = "difference does" if len(info) == 1 else "differences do"
    return f"{len(info)} more", words(f"{noun} not matter to this model: {shown}{more}", "dim")


def _last_line(verdict: Verdict, exit_code: int) -> Text:
    from rich.text import Text

    counts = []
    for severity, unknown, word in _OUTCOME_COUNTS:
        number = sum(
            finding.severity == severity and unknown in (None, finding.unknown)
            for finding in verdict.findings
        )
        if number:
            counts.append(f"{number} {word}{'s' if number == 1 and word != 'unknown' else ''}")
    summary = f" ({', '.join(counts)})" if counts else ""
    policy = f" under the policy {inert(verdict.policy)}" if verdict.policy else ""
    return Text.assemble("verdict: ", state(verdict.outcome), f"{summary}{policy}", f"   exit {exit_code}")
