"""A verdict for people: what blocks, why and how to mend it first; then what was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envcheck.contract.policy import Policy
from envcheck.contract.text import inert
from envcheck.contract.verdict import Finding, Verdict
from envcheck.output.console import columns, state, words
from envcheck.output.looked_at import Measured, looked_at
from envcheck.output.measures import measure_lines
from envcheck.output.stack import stack_lines
from envcheck.output.subjects import SUBJECTS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_OUTCOME_COUNTS = (("block", False, "block"), ("block", True, "unknown"), ("warn", None, "warn"))


def verdict_text(
    verdict: Verdict, title: str, policy: Policy, measured: Measured | None, exit_code: int
) -> RenderableType:
    """Return the whole screen for one verdict. `title` names the device and what serves the model."""
    from rich.console import Group
    from rich.text import Text

    grid = columns()
    told = [finding for finding in verdict.findings if finding.severity != "info"]
    explained: set[str] = set()
    for finding, following in zip(told, [*told[1:], None], strict=False):
        _add_finding(grid, finding)
        if finding.path == "evidence.ending" and measured is not None:
            for label, call in stack_lines(measured.evidence.ending):
                grid.add_row("", Text(label, style="dim"), words(call))
        if following is None or _reasons(following) != _reasons(finding):
            _add_reasons(grid, finding, explained)
    for finding in verdict.waived:
        grid.add_row("  waived", words(subject(finding.path)), words(finding.message, "dim"))
    for line in looked_at(verdict, policy, measured):
        style = "" if line.word == "ok" else "dim"
        grid.add_row(Text.assemble("  ", state(line.word)), line.label, words(line.text, style))
    for word, name, numbers in measure_lines(verdict.measures):
        grid.add_row(Text.assemble("  ", state(word)), words(name[:40]), words(numbers, "dim"))
    info = [finding for finding in verdict.findings if finding.severity == "info"]
    if info:
        grid.add_row(Text.assemble("  ", state("info")), *_info_line(info))
    return Group(words(title, "bold"), Text(""), grid, Text(""), _last_line(verdict, exit_code))


def subject(path: str) -> str:
    """Return the short name of what a finding is about."""
    if path in SUBJECTS:
        return SUBJECTS[path]
    if path.startswith("evidence.outputs."):
        return "outputs"
    return path.removesuffix(".version")


def _add_finding(grid: Table, finding: Finding) -> None:
    from rich.text import Text

    word: str = finding.severity
    if word == "block":
        word = "UNKNOWN" if finding.unknown else "FAIL"
    message = finding.message.removeprefix(f"{_named(finding.path)} ")
    if finding.impact:
        message = f"{message} ({finding.impact})"
    grid.add_row(Text.assemble("  ", state(word)), words(subject(finding.path)), words(message))


def _named(path: str) -> str:
    """Return the name that a message begins with and that its subject has told already."""
    if path == "python.version":
        return "Python"
    parts = path.split(".")
    return parts[1] if parts[0] == "packages" and parts[2:] == ["version"] else path


def _reasons(finding: Finding) -> tuple[str, str]:
    """Return why a finding is so and how to mend it: several findings in a row may share both."""
    return finding.cause, finding.hint if finding.severity == "block" else ""


def _add_reasons(grid: Table, finding: Finding, explained: set[str]) -> None:
    """Tell cause and mend, each once on a screen."""
    from rich.text import Text

    for label, text in zip(("cause", "mend"), _reasons(finding), strict=True):
        if text and text not in explained:
            explained.add(text)
            grid.add_row("", Text(label, style="dim"), words(text))


def _info_line(info: list[Finding]) -> tuple[str, Text]:
    shown = ", ".join(subject(finding.path) for finding in info[:4])
    more = f" and {len(info) - 4} more" if len(info) > 4 else ""
    return f"{len(info)} more", words(f"for information only: {shown}{more}", "dim")


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
