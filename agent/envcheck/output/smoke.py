"""What a smoke run measured, for people: how it ended, outputs, providers, speed, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envcheck.contract.baseline import Baseline
from envcheck.contract.evidence import Evidence, OutputMetrics, Smoke, SmokeReadings
from envcheck.contract.text import inert
from envcheck.output.console import columns, state, words
from envcheck.output.looked_at import floor_words, in_floors, latency_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_ENDINGS = {
    "error": "it failed",
    "crash": "it crashed",
    "timeout": "it hung",
    "memory": "it ran out of memory",
    "refused": "it was refused",
}
Row = tuple[str, str, str]


def smoke_text(smoke: Smoke, baseline: Baseline, title: str) -> RenderableType:
    """Return the whole screen for one smoke run; `title` names the release and the device."""
    from rich.console import Group
    from rich.text import Text

    grid = columns()
    evidence = smoke.evidence
    for word, subject, text in (
        *_ending(evidence),
        *_outputs(evidence, baseline),
        *_run(evidence, baseline),
        *_readings(smoke.readings),
    ):
        grid.add_row(Text.assemble("  ", state(word)), subject, words(text))
    return Group(words(title, "bold"), Text(""), grid, Text(""), _last_line(evidence))


def _ending(evidence: Evidence) -> Iterator[Row]:
    ending = evidence.ending
    if ending.status == "ok":
        if ending.reason:
            yield "warn", "providers", ending.reason
        return
    yield "FAIL", "ending", ending.reason or _ENDINGS[ending.status]
    if ending.hint:
        yield "", "mend", ending.hint


def _outputs(evidence: Evidence, baseline: Baseline) -> Iterator[Row]:
    for name, metrics in sorted(evidence.outputs.items()):
        word = "FAIL" if metrics.problem else ""
        yield (
            word,
            f"output {inert(name)[:40]}",
            metrics.detail or ", ".join(_phrases(name, metrics, baseline)),
        )
        if metrics.decisions is not None:
            agreeing = metrics.decisions.total - metrics.decisions.flipped
            yield "", "decisions", f"{agreeing} of {metrics.decisions.total} as in training"
    if evidence.accuracy is not None:
        trained = baseline.evidence.accuracy
        yield (
            "",
            "accuracy",
            f"{evidence.accuracy:.3f}" + (f" ({trained:.3f} in training)" if trained else ""),
        )
    if evidence.repeatable is not None:
        yield (
            "",
            "repeats",
            "equal, bit by bit" if evidence.repeatable else "runs of the same inputs differed",
        )


def _phrases(name: str, metrics: OutputMetrics, baseline: Baseline) -> Iterator[str]:
    reference = baseline.outputs.get(name)
    floor = reference.floor if reference is not None else None
    if metrics.rmse is not None and floor is not None:
        yield f"{in_floors(metrics.rmse, floor.rms)} {floor_words(floor.basis)}"
    elif metrics.rmse is not None:
        yield f"RMSE {metrics.rmse:.3g}"
    if metrics.differing is not None:
        yield f"{metrics.differing} of {metrics.elements} elements differ"
    if metrics.max_abs is not None:
        yield f"largest error {metrics.max_abs:.3g}"


def _run(evidence: Evidence, baseline: Baseline) -> Iterator[Row]:
    if evidence.registered:
        same = " (as in training)" if evidence.registered == baseline.providers else ""
        yield "", "providers", ", ".join(evidence.registered) + same
    for provider, operators in sorted(evidence.placement.nodes.items()):
        yield "", "nodes", f"{sum(operators.values())} on {provider}: {_most(operators)}"
    if evidence.canaries:
        yield "", "canaries", _canaries(evidence.canaries)
    runtime = evidence.runtime
    if runtime.onnxruntime:
        yield (
            "",
            "ran with",
            f"onnxruntime {runtime.onnxruntime}, numpy {runtime.numpy}, Python {runtime.python}",
        )


def _most(operators: dict[str, int]) -> str:
    ranked = sorted(operators.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{count} {operator}" for operator, count in ranked[:5])
    return told + (f" and {len(ranked) - 5} other kinds" if len(ranked) > 5 else "")


def _canaries(canaries: dict[str, str]) -> str:
    names = {"u8s8": "int8 products", "fma": "multiply-add", "denormals": "denormals"}
    told = [f"{words_for} {canaries[name]}" for name, words_for in names.items() if name in canaries]
    return ", ".join(told)


def _readings(readings: SmokeReadings) -> Iterator[Row]:
    if readings.latency is not None:
        limited = ", throttled meanwhile" if readings.throttled else ""
        yield "", "latency", latency_line(readings) + limited
    parts = (
        ("import", readings.import_ms),
        ("session", readings.session_ms),
        ("first run", readings.first_run_ms),
    )
    told = [f"{name} {value:.3g} ms" for name, value in parts if value is not None]
    if told:
        yield "", "start", ", ".join(told)
    if readings.peak_memory_mb is not None:
        yield "", "memory", f"{readings.peak_memory_mb:.0f} MB at most"


def _last_line(evidence: Evidence) -> RenderableType:
    from rich.text import Text

    ok = evidence.ending.status == "ok"
    what = "the model ran" if ok else _ENDINGS[evidence.ending.status]
    word = Text("smoke: ").append_text(state("ok" if ok else "FAIL"))
    tail = (
        "; judge it with envcheck check   exit 0" if ok else f" at the stage {evidence.ending.stage}   exit 1"
    )
    return word.append(f" ({what}){tail}")
