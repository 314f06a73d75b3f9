"""Text from elsewhere can't drive a terminal, nor pose as a line of envcheck's own."""

from __future__ import annotations

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


@given(st.text().filter(str.isprintable))
def test_what_is_harmless_stays(text: str) -> None:
    assert inert(text) == printable(text) == text
