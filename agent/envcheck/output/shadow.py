"""A candidate beside the model in service, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from envcheck.contract.evidence import Ending
from envcheck.contract.figures import figure
from envcheck.contract.shadow import ADDED, Shadow, ShadowOutput, Side
from envcheck.contract.text import inert
from envcheck.errors import EXIT_PASS, EXIT_UNKNOWN
from envcheck.output.console import columns, state, words
from envcheck.output.looked_at import latency_line, milliseconds
from envcheck.output.stack import stack_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

_CALLED: dict[Side, str] = {"service": "the model in service", "candidate": "the candidate"}
_TIMED: dict[Side, str] = {"service": "latency", "candidate": ""}
_SHOWN = 3
_WORDS = {EXIT_PASS: "ok", EXIT_UNKNOWN: "UNKNOWN"}
Row = tuple[str, str, str]


def shadow_text(shadow: Shadow, device: str, wanted: float | None, exit_code: int) -> RenderableType:
    """Return the whole screen; `wanted` is the least agreement that was asked for, `device` where it ran."""
    from rich.console import Group
    from rich.text import Text

    grid = columns()
    for word, subject, text in (
        *_endings(shadow),
        ("", "inputs", f"{_count(shadow.samples, 'sample')} in {_count(shadow.files, 'file')}"),
        *(row for name, output in sorted(shadow.outputs.items()) for row in _output(name, output)),
        *_differing(shadow),
        *_speed(shadow),
    ):
        grid.add_row(Text.assemble("  ", state(word)), subject, words(text))
    title = f"{shadow.candidate} beside {shadow.release} in service, on {device}"
    last = words(f"{_verdict(shadow, wanted, exit_code)}   exit {exit_code}")
    lead = Text("shadow: ").append_text(state(_WORDS.get(exit_code, "FAIL")))
    return Group(words(title, "bold"), Text(""), grid, Text(""), lead.append(" ").append_text(last))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _endings(shadow: Shadow) -> Iterator[Row]:
    for side, ending in shadow.endings.items():
        if ending.status != "ok":
            yield "FAIL", side, ending.reason or ending.status
            for label, call in stack_lines(ending):
                yield "", label, call
            if ending.hint:
                yield "", "mend", ending.hint


def _output(name: str, output: ShadowOutput) -> Iterator[Row]:
    subject = f"output {inert(name)[:40]}"
    if output.problem:
        yield "info" if output.problem == ADDED else "FAIL", subject, output.problem
        return
    if output.decisions is not None:
        same = output.decisions.total - output.decisions.flipped
        margin = (
            f", the largest margin {figure(output.decisions.largest_margin)}"
            if output.decisions.flipped
            else ""
        )
        told = f"{same} of {output.decisions.total} {output.decisions.words} agree"
        yield "", subject, f"{told} ({_share(output)}){margin}"
        subject = ""
    elif output.agreement is not None:
        yield "", subject, f"{_share(output)} of {output.elements} elements are equal"
    if output.rmse is not None:
        share = f" ({output.rmse / output.scale:.2g} of its RMS)" if output.scale else ""
        most = "" if output.max_abs is None else f", at most {figure(output.max_abs)}"
        yield "", subject, f"RMSE {figure(output.rmse)}{share}{most}"


def _share(output: ShadowOutput) -> str:
    return f"{100 * (output.agreement or 0):.4g}%"


def _differing(shadow: Shadow) -> Iterator[Row]:
    if shadow.differing:
        told = [f"{inert(name)} ({number})" for name, number in list(shadow.differing.items())[:_SHOWN]]
        rest = len(shadow.differing) - _SHOWN
        yield "", "differ in", ", ".join(told) + (" and others" if rest > 0 else "")


def _speed(shadow: Shadow) -> Iterator[Row]:
    for side, subject in _TIMED.items():
        readings = shadow.readings.get(side)
        if readings is None or readings.latency is None:
            continue
        session = f", session {milliseconds(readings.session_ms)}" if readings.session_ms is not None else ""
        yield "", subject, f"{_CALLED[side]}: {latency_line(readings)}{session}"
    if shadow.latency_ratio is not None:
        yield "", "ratio", f"the candidate takes {figure(shadow.latency_ratio)} times as long"


def _verdict(shadow: Shadow, wanted: float | None, exit_code: int) -> str:
    ended = {side: ending for side, ending in shadow.endings.items() if ending.status != "ok"}
    if ended:
        return _ended(ended)
    told = "nothing is decided" if shadow.agreement is None else f"{100 * shadow.agreement:.4g}% agree"
    if wanted is None:
        return f"({told}); say how much must: --min-agreement 0.99"
    if exit_code == EXIT_UNKNOWN:
        return "(no output decides or is exact); leave --min-agreement out, and look at the RMSE"
    if exit_code:
        return (
            f"({told}, {100 * wanted:.4g}% must); look at the files that differ, then train or quantise anew"
        )
    return f"({told}, {100 * wanted:.4g}% must); freeze and push the candidate: envcheck push"


def _ended(ended: Mapping[Side, Ending]) -> str:
    reached = [side for side, ending in ended.items() if ending.reason != "it was not reached"]
    return f"({_CALLED[reached[0]]} did not run to its end); see envcheck smoke of that bundle"
