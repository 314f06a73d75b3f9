"""What a smoke run measured, for people: how it ended, outputs, providers, speed, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envcheck.contract.baseline import Baseline
from envcheck.contract.evidence import Evidence, OutputMetrics, Smoke, SmokeReadings, ThreadPool
from envcheck.contract.figures import figure
from envcheck.contract.text import inert
from envcheck.output.console import columns, state, words
from envcheck.output.looked_at import floor_words, in_floors, latency_line
from envcheck.output.stack import stack_lines

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
        for provider, reason in sorted(evidence.fallbacks.items()):
            yield "warn", "providers", f"{provider} did not register: {reason}"
        if ending.reason and not evidence.fallbacks:
            yield "warn", "providers", ending.reason
        return
    yield "FAIL", "ending", ending.reason or _ENDINGS[ending.status]
    for label, call in stack_lines(ending):
        yield "", label, call
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
            yield "", metrics.decisions.words, f"{agreeing} of {metrics.decisions.total} as in training"
        yield from _values(metrics)
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


def _values(metrics: OutputMetrics) -> Iterator[Row]:
    if metrics.low is not None and metrics.high is not None:
        told = f"{figure(metrics.low)} to {figure(metrics.high)}"
        if metrics.mean is not None and metrics.deviation is not None:
            told += f", mean {figure(metrics.mean)}, deviation {figure(metrics.deviation)}"
        yield "", "values", told
    if metrics.sum_error is not None and metrics.divergence is not None:
        told = f"sums are within {metrics.sum_error:.2g} of 1; divergence {metrics.divergence:.2g} nats"
        yield "", "probabilities", told
    if metrics.batching_max is not None:
        same = metrics.batching_max == 0
        found = "as in the batch" if same else f"at most {figure(metrics.batching_max)} from the batch's"
        yield "", "one by one", found


def _phrases(name: str, metrics: OutputMetrics, baseline: Baseline) -> Iterator[str]:
    reference = baseline.outputs.get(name)
    floor = reference.floor if reference is not None else None
    if metrics.rmse is not None and floor is not None:
        yield f"{in_floors(metrics.rmse, floor.rms)} {floor_words(floor.basis)}"
    elif metrics.rmse is not None:
        yield f"RMSE {figure(metrics.rmse)}"
    if metrics.differing is not None:
        yield f"{metrics.differing} of {metrics.elements} elements differ"
    if metrics.differing and metrics.tie_gap is not None:
        yield f"scores that changed places differ by {figure(metrics.tie_gap)}"
    elif metrics.max_abs is not None:
        yield f"largest error {figure(metrics.max_abs)}"
    if reference is not None and reference.quantised and metrics.within_quantum is not None:
        yield f"{100 * metrics.within_quantum:.3g}% within one quantum"


def _run(evidence: Evidence, baseline: Baseline) -> Iterator[Row]:
    if evidence.registered:
        same = " (as in training)" if evidence.registered == baseline.providers else ""
        yield "", "providers", ", ".join(evidence.registered) + same
    for provider, operators in sorted(evidence.placement.nodes.items()):
        yield "", "nodes", f"{sum(operators.values())} on {provider}: {_most(operators)}"
    for provider, strays in sorted(evidence.placement.astray.items()):
        yield "warn", "astray", f"heavy nodes on {provider}: {_listed(strays)}"
    if evidence.canaries:
        yield "", "canaries", _canaries(evidence.canaries)
    runtime = evidence.runtime
    if runtime.onnxruntime:
        yield (
            "",
            "ran with",
            f"onnxruntime {runtime.onnxruntime}, numpy {runtime.numpy}, Python {runtime.python}",
        )
    for pool in evidence.thread_pools:
        yield "", "threads", _pool(pool)


def _most(operators: dict[str, int]) -> str:
    ranked = sorted(operators.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{count} {operator}" for operator, count in ranked[:5])
    return told + (f" and {len(ranked) - 5} other kinds" if len(ranked) > 5 else "")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _pool(pool: ThreadPool) -> str:
    told = "unknown" if pool.threads is None else str(pool.threads)
    core = f", kernels for {pool.core}" if pool.core else ""
    return f"{told} in {pool.kind} ({pool.library}{f' {pool.version}' if pool.version else ''}{core})"


_CANARIES = {
    "u8s8": "int8 products",
    "fma": "multiply-add",
    "denormals": "denormals",
    "tf32": "float32 products",
    "float16": "float16 products",
}


def _canaries(canaries: dict[str, str]) -> str:
    told = [f"{words_for} {canaries[name]}" for name, words_for in _CANARIES.items() if name in canaries]
    return ", ".join(told)


def _readings(readings: SmokeReadings) -> Iterator[Row]:
    if readings.latency is not None:
        yield "", "latency", latency_line(readings)
    if readings.throughput is not None:
        yield "", "throughput", f"{figure(readings.throughput)} samples/s"
    for slowed, what in ((readings.throttled, "heat or power"), (readings.starved, "a CPU quota")):
        if slowed:
            yield "warn", "slowed", f"by {what}, while the model ran: its timings say little"
    parts = (
        ("import", readings.import_ms),
        ("session", readings.session_ms),
        ("first run", readings.first_run_ms),
    )
    told = [f"{name} {figure(value)} ms" for name, value in parts if value is not None]
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
