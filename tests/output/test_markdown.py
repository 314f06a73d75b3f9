"""The gate's answer as Markdown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.wire import GateAnswer
from envcheck.output.markdown import escape, markdown

_ACTIVE = set("\\`*_{}[]()<>#!|~&@$")


def unescaped(text: str) -> set[str]:
    """Return the active characters that no backslash takes the edge off."""
    return set(re.sub(r"\\[!-/:-@\[-`{-~]", "", text)) & _ACTIVE


BLOCKED = "press\\-07 press\\-11 press\\-12 press\\-19 ... \\(\\+5\\)"


def test_it_says_everything(answer: GateAnswer) -> None:
    assert markdown(answer).splitlines() == [
        "### envcheck gate: digits\\-int8\\@<!-- -->1.3, devices with line=press: pass",
        "",
        "97.2% ready, 95% wanted; 0.7% unknown, 1% allowed",
        "",
        "| | devices | share | reason | for example |",
        "|---|--:|--:|---|---|",
        "| ready | 412 | 97.2% |  |  |",
        f"| blocked | 9 | 2.1% | int8 products saturate\\: no VNNI | {BLOCKED} |",
        "| unknown | 3 | 0.7% | no report for more than 24 h | press\\-90 press\\-91 press\\-92 |",
        "",
        "In common:",
        "",
        "- cpu.isa lacks avx512\\_vnni and avx\\_vnni \\(9 of 9; 0 of 412 ready\\)",
        "",
        "What to do:",
        "",
        "- quantise with uint8 weights or reduce\\_range, or choose devices with VNNI",
        "- is the device on, and its timer active?",
    ]


def test_nothing_from_elsewhere_is_active(hostile: GateAnswer, failing: GateAnswer) -> None:
    lines = markdown(hostile).splitlines()
    assert len(lines) == len(markdown(failing).splitlines()) - 1  # both hints are the same now
    cells = [cell for line in lines if line.startswith("|") for cell in re.split(r"(?<!\\)\|", line)]
    rows = [line for line in lines if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert not set().union(*(unescaped(cell.replace("<!-- -->", "")) for cell in cells))
    assert not {"\x1b", "\r", "\0", "\u202e"} & set(markdown(hostile))


@given(st.text())
def test_escaped_text_is_one_line_without_meaning(text: str) -> None:
    assert unescaped(escape(text).replace("<!-- -->", "")) == set()
    assert len(escape(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see www.evil.example/x", "see www\\.evil.example\\/x"),
        ("WWW.evil.example", "WWW\\.evil.example"),
        ("me@evil.example", "me\\@<!-- -->evil.example"),
        ("https://evil.example", "https\\:\\/\\/evil.example"),
    ],
)
def test_addresses_are_no_links(text: str, shown: str) -> None:
    """Held against GitHub's own renderer, cmark-gfm: it makes links of bare addresses, escaped or not."""
    assert escape(text) == shown
