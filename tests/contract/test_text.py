"""Text from elsewhere can't drive a terminal, nor pose as a line of envcheck's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.text import inert, printable


def test_control_and_format_characters_are_escaped() -> None:
    assert inert("a\x1b[31m\u202eb\n") == "a\\x1b[31m\\u202eb\\n"
    assert printable("a\x1b[31m\nerror: b") == "a\\x1b[31m\n  error: b"


@given(st.text())
def test_nothing_else_is_left(text: str) -> None:
    assert inert(text).isprintable()
    assert all(line.isprintable() for line in printable(text).split("\n"))


@given(st.text().filter(lambda text: text.isprintable() and "::" not in text and "##" not in text))
def test_what_is_harmless_stays(text: str) -> None:
    assert inert(text) == printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", "\\x3a:error::x"),
        ("a ::Add-Mask::x", "a \\x3a:Add-Mask::x"),
        ("::::stop-commands::x", "::\\x3a:stop-commands::x"),
        ("##[error]x", "\\x23#[error]x"),
        ("###vso[task.setvariable variable=PATH]x", "#\\x23#vso[task.setvariable variable=PATH]x"),
        ("##teamcity[x]", "\\x23#teamcity[x]"),
        ("std::bad_alloc in a::b::c", "std::bad_alloc in a::b::c"),
        ("## a heading, ##", "## a heading, ##"),
    ],
)
def test_commands_to_a_job_of_ci_are_escaped(text: str, shown: str) -> None:
    assert inert(text) == shown
    assert inert(shown) == shown
