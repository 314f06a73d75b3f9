"""The gate's answer for people: counts, reasons, what the blocked have in common, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envcheck.contract.text import inert
from envcheck.contract.verdict import Outcome
from envcheck.contract.wire import GateAnswer, GateGroup, GateWaiver
from envcheck.output.console import state, words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WORDS: dict[Outcome, str] = {"pass": "ready", "fail": "blocked", "unknown": "unknown"}
_NAMED = 3
_VERDICT_WIDTH = 72


def gate_text(answer: GateAnswer, exit_code: int, console: Console) -> str:
    """Return the answer as it reads on a console of this width and these colours."""
    with console.capture() as captured:
        console.print(_table(answer))
        notes = _notes(answer)
        if notes.row_count:
            console.print()
            console.print(notes)
        console.print()
        verdict = f"verdict: {answer.outcome} ({explain(answer)})"
        console.print(words(f"{verdict:<{_VERDICT_WIDTH}} exit {exit_code}"), soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1])


def explain(answer: GateAnswer) -> str:
    """Say in one clause why the gate decided as it did."""
    if answer.total == 0:
        return "no device is selected"
    said = f"{share(answer.ready, answer.total)} ready, {wanted(answer.min_ready)} wanted"
    if answer.unknown:
        said += f"; {share(answer.unknown, answer.total)} unknown, {wanted(answer.max_unknown)} allowed"
    return said


def share(part: int, whole: int) -> str:
    """Return a percentage that is 0 or 100 only when it is exactly that."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.1f}%"


def wanted(fraction: float) -> str:
    """Return a share that was asked for as it was written: 0.95 is 95%."""
    return f"{100 * fraction:.10g}%"


def title(answer: GateAnswer) -> str:
    """Name the question in one inert line."""
    return inert(f"{answer.release}, devices with {answer.cohort}" if answer.cohort else answer.release)


def named(group: GateGroup, limit: int = _NAMED) -> str:
    """Name the first devices of a group and count the others."""
    shown = group.devices[:limit]
    others = group.count - len(shown)
    return inert(" ".join(shown) + (f" ... (+{others})" if others and shown else ""))


def waived(waiver: GateWaiver) -> str:
    """Tell in one inert line what was excepted, for how many devices, until when and why."""
    devices = f"{waiver.count} {'device' if waiver.count == 1 else 'devices'}"
    return inert(f"{waiver.path} on {devices} until {waiver.expires_at}: {waiver.reason} ({waiver.name})")


def _table(answer: GateAnswer) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    counts: dict[Outcome, int] = {"pass": answer.ready, "fail": answer.blocked, "unknown": answer.unknown}
    for outcome, count in counts.items():
        groups = [] if outcome == "pass" else [one for one in answer.groups if one.outcome == outcome]
        reasons = [_reason(group, alone=len(groups) == 1) for group in groups]
        devices = [named(group) for group in groups]
        rows = list(zip(reasons, devices, strict=True)) or [("", "")]
        for number, (reason, names) in enumerate(rows):
            first = number == 0
            table.add_row(
                state(f"  {WORDS[outcome]}" if first else ""),
                str(count) if first else "",
                share(count, answer.total) if first else "",
                words(reason),
                words(names),
            )
    return table


def _reason(group: GateGroup, *, alone: bool) -> str:
    return group.reason if alone else f"{group.reason} ({group.count})"


def _notes(answer: GateAnswer) -> Table:
    from rich.table import Table

    notes = Table.grid(padding=(0, 3, 0, 0), pad_edge=False)
    notes.add_column(no_wrap=True)
    notes.add_column(overflow="fold")
    for number, line in enumerate(answer.common):
        notes.add_row("in common" if number == 0 else "", words(line))
    for waiver in answer.waivers:
        notes.add_row("waived", words(waived(waiver)))
    wrong = [group for group in answer.groups if group.outcome != "pass"]
    told = [(kind, line) for group in wrong for kind, line in (("cause", group.cause), ("mend", group.hint))]
    for kind, line in dict.fromkeys(told):
        if line:
            notes.add_row(kind, words(line))
    return notes
