"""The gate's answer as Markdown: a job summary on GitHub, a note on GitLab."""

from __future__ import annotations

import re

from envcheck.contract.text import inert
from envcheck.contract.wire import GateAnswer, GateGroup
from envcheck.output.gate import WORDS, explain, named, share, title, waived

_LISTED = 20
# The last one is GitHub's: it makes a link of bare www addresses.
_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#+!|~&@$:/-]|(?<=www)\.)", re.IGNORECASE)


def markdown(answer: GateAnswer) -> str:
    """Return Markdown. Text from devices is escaped: no link, no image, no HTML, no mention comes of it."""
    lines = [
        f"### envcheck gate: {escape(title(answer))}: {answer.outcome}",
        "",
        escape(explain(answer)),
        "",
        "| | devices | share | reason | for example |",
        "|---|--:|--:|---|---|",
        _row("ready", answer.ready, answer.total, "", ""),
    ]
    for outcome in ("fail", "unknown"):
        lines += [_group(group, answer.total) for group in answer.groups if group.outcome == outcome]
    lines += [*_list("In common", answer.common)]
    lines += _list("Waived", [waived(one) for one in answer.waivers])
    lines += _list("What to do", _hints(answer))
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is."""
    # GitHub looks for addresses and mentions when the backslashes are gone; a comment keeps the halves apart.
    return _ACTIVE.sub(r"\\\1", inert(text)).replace("@", "@<!-- -->")


def _group(group: GateGroup, total: int) -> str:
    return _row(WORDS[group.outcome], group.count, total, group.reason, named(group, _LISTED))


def _row(state: str, count: int, total: int, reason: str, devices: str) -> str:
    return f"| {state} | {count} | {share(count, total)} | {escape(reason)} | {escape(devices)} |"


def _list(title: str, items: list[str]) -> list[str]:
    return ["", f"{title}:", "", *(f"- {escape(item)}" for item in items)] if items else []


def _hints(answer: GateAnswer) -> list[str]:
    hints = [group.hint for group in answer.groups if group.outcome != "pass" and group.hint]
    return list(dict.fromkeys(hints))
