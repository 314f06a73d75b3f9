"""What a baseline holds devices to, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envcheck.contract.baseline import Baseline, Graph, OutputReference, TensorSpec
from envcheck.contract.figures import figure
from envcheck.contract.fingerprint import Fingerprint
from envcheck.contract.text import inert
from envcheck.output.console import words
from envcheck.output.looked_at import latency_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST = 6
_MOST_PACKAGES = 12
_HELD_TO = {
    "float64": "the model in double precision",
    "ensemble-median": "the median of many runs here",
    "quantisation-error": "its own outputs here",
    "quantum": "its own outputs here",
}
_FLOOR_NAMES = {"quantisation-error": "quant. error", "quantum": "half a quantum"}
_MEASURED_BY = {
    "float64": "optimisation levels, threads and last bits move it that far",
    "ensemble-median": "optimisation levels, threads and last bits move it that far",
    "quantisation-error": "that is how far it is from its float original",
    "quantum": "half a quantum of the inputs moves it that far",
}
Row = tuple[str, str]


def baseline_text(
    baseline: Baseline, fingerprint: Fingerprint, signer: str | None, last: str
) -> RenderableType:
    """Return the whole screen for one baseline; `last` is the closing line."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 3, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True, min_width=14)
    grid.add_column(overflow="fold")
    rows = (
        *_model(baseline),
        *_outputs(baseline),
        *_machine(baseline, fingerprint),
        ("signed", f"by {signer}" if signer else "no"),
    )
    for subject, text in rows:
        grid.add_row(words(f"  {subject}"), words(text))
    title = f"{baseline.release}, measured {baseline.created_at} by envcheck {baseline.agent}"
    return Group(words(title, "bold"), Text(""), grid, Text(""), words(last))


def _model(baseline: Baseline) -> Iterator[Row]:
    graph = baseline.graph
    opsets = ", ".join(f"{domain or 'opset'} {version}" for domain, version in graph.opsets.items())
    size = f"{graph.size / 1000:,.0f} kB".replace(",", " ")
    yield "model", f"{size}, {_weights(graph)}, {opsets}, IR {graph.ir_version}" + _by(graph.producer)
    ranked = sorted(graph.operators.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{count} {operator}" for operator, count in ranked[:_MOST])
    yield "operators", told + (f" and {len(ranked) - _MOST} other kinds" if len(ranked) > _MOST else "")
    if graph.heavy:
        yield "heavy", ", ".join(f"{count} {operator}" for operator, count in graph.heavy.items())
    if graph.random:
        yield "random", f"{', '.join(graph.random)}: only shapes and statistics are compared"
    if graph.subnormal:
        yield "subnormal", f"{_thousands(graph.subnormal)} weights: slow on CPUs that do not flush them"
    if graph.quantised:
        yield (
            "quantised",
            ", ".join(f"{count} nodes multiply {scheme}" for scheme, count in graph.quantised.items()),
        )
    for number, spec in enumerate(graph.inputs):
        held = f", {_samples(baseline)}" if number == 0 else ""
        yield "input" if number == 0 else "", f"{_spec(spec)}{held}"
    if graph.dynamic_axes:
        yield "free axes", ", ".join(map(inert, graph.dynamic_axes))


def _samples(baseline: Baseline) -> str:
    added = f", the last {baseline.edge_cases} of them edge cases" if baseline.edge_cases else ""
    return f"{baseline.samples} samples{added}"


def _weights(graph: Graph) -> str:
    kinds = sorted(graph.weights, key=lambda kind: -graph.weights[kind])
    told = (
        kinds[0]
        if len(kinds) == 1
        else ", ".join(f"{_thousands(graph.weights[kind])} {kind}" for kind in kinds)
    )
    return f"{_thousands(graph.parameters)} parameters" + (f" ({told})" if told else "")


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _by(producer: str) -> str:
    return f", from {producer}" if producer else ""


def _spec(spec: TensorSpec) -> str:
    if spec.shape is None:
        return f"{spec.name} {spec.dtype}"
    return f"{spec.name} {spec.dtype} [{', '.join('?' if dim is None else str(dim) for dim in spec.shape)}]"


def _outputs(baseline: Baseline) -> Iterator[Row]:
    for name, output in baseline.outputs.items():
        yield "output", f"{inert(name)} {output.dtype} {output.shape}, " + _held_to(output)
        if output.floor is not None:
            floor = output.floor
            share = f" ({floor.rms / floor.scale:.2g} of the RMS)" if floor.scale else ""
            subject = _FLOOR_NAMES.get(floor.basis, "noise floor")
            yield subject, f"RMSE {figure(floor.rms)}{share}, at most {figure(floor.max)}"
            yield "", f"{_MEASURED_BY[floor.basis]} ({floor.members} runs)"
    if baseline.evidence.accuracy is not None:
        yield "accuracy", f"{baseline.evidence.accuracy:.3f} on the golden samples"


def _held_to(output: OutputReference) -> str:
    if output.quantised:
        return "to be within one quantum in every element"
    if output.ties is not None:
        return f"to be equal in every element, ties of {inert(output.ties.scores)} apart"
    if output.exact:
        return "to be equal in every element"
    if output.floor is None:
        return "held to its shape and statistics"
    what = "probabilities, " if output.probabilities else ""
    best = "its largest is" if output.top == 1 else f"its top {output.top} are"
    decides = f"; {best} the decision" if output.decides else ""
    return f"{what}held to {_HELD_TO[output.floor.basis]}{decides}"


def _machine(baseline: Baseline, fingerprint: Fingerprint) -> Iterator[Row]:
    facts = {name: section.shared for name, section in fingerprint.sections.items()}
    packages = facts.get("packages", {})
    names = [f"{name} {packages.get(name, {}).get('version') or ''}".strip() for name in baseline.required]
    told = ", ".join(names[:_MOST_PACKAGES])
    told += f" and {len(names) - _MOST_PACKAGES} others" if len(names) > _MOST_PACKAGES else ""
    yield "packages", f"{told} count on devices" if names else "none count on devices"
    yield "providers", ", ".join(baseline.providers)
    if baseline.readings.latency is not None:
        yield "latency", latency_line(baseline.readings)
    for number, (kind, readings) in enumerate(sorted(baseline.timings.items())):
        yield "timings" if number == 0 else "", f"{inert(kind)}: {latency_line(readings)}"
    parts = [f"Python {baseline.evidence.runtime.python}" if baseline.evidence.runtime.python else ""]
    parts.append(str(facts.get("cpu", {}).get("model") or ""))
    parts.append(f"fingerprint {fingerprint.digest[:12]}")
    yield "made on", ", ".join(part for part in parts if part)
