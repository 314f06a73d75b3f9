from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.errors import BadInput
from envcheck.facts.env_file import parse_env_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# comment\n; comment\n\nA=1\n", {"A": "1"}),
        ("A = spaced \n", {"A": "spaced"}),
        ("A='x # y' \n", {"A": "x # y"}),
        ('A="a\\"b\\$\\n"\n', {"A": 'a"b$\\n'}),
        ("A=one\\\ntwo\n", {"A": "onetwo"}),
        ('A="one\ntwo"\nB=2', {"A": "one\ntwo", "B": "2"}),
        ("A=it's\n", {"A": "it's"}),
        ("A='a'\"b\"c\n", {"A": "abc"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A=\r\nB=x\r\n", {"A": "", "B": "x"}),
        ("A=x=y\n", {"A": "x=y"}),
    ],
)
def test_as_systemd_reads_it(text: str, expected: dict[str, str]) -> None:
    assert parse_env_file(text.encode(), "app.env") == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nexport B=2\n", 2), ("A=1\n\nnonsense\n", 3), ("A='open\nB=1\n", 1), ("1A=x\n", 1), ("=x\n", 1)],
)
def test_what_does_not_fit_is_named_by_its_line_and_never_repeated(text: str, line: int) -> None:
    with pytest.raises(BadInput, match=f"app.env, line {line}:") as caught:
        parse_env_file(text.encode(), "app.env")
    assert "nonsense" not in caught.value.message


NAMES = st.from_regex(re.compile(r"[A-Z_][A-Z0-9_]{0,8}", re.ASCII), fullmatch=True)
VALUES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=20)


@given(st.dictionaries(NAMES, VALUES))
def test_what_was_quoted_is_read_back(variables: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return '"' + "".join("\\" + char if char in '"\\`$' else char for char in value) + '"'

    text = "".join(f"{name}={quoted(value)}\n" for name, value in variables.items())
    assert parse_env_file(text.encode(), "f") == variables


@given(st.binary(max_size=200) | st.text("A=\\'\"\n #;", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(BadInput):
        assert all("\0" not in value for value in parse_env_file(data, "f").values())
