from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts.unit_values import cpus, limit, size_mib, split_words, time_share, variables


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a  b\tc", ["a", "b", "c"]),
        ('A=1 "B=two words"', ["A=1", "B=two words"]),
        ("'C=it\"s' D='x y'z", ['C=it"s', "D=x yz"]),
        (r'"C=it\"s" E=a\x20b F=\101', ['C=it"s', "E=a b", "F=A"]),
        ("G=$'tab\\there' ''", ["G=tab\there", ""]),
        ("open 'quote", ["open", "quote"]),
        ("trailing\\", ["trailing\\"]),
    ],
)
def test_words_as_systemd_splits_them(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.lists(st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs"]), max_size=12)))
def test_what_a_shell_quotes_is_read_back(words: list[str]) -> None:
    assert split_words(" ".join(map(shlex.quote, words))) == words


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    for name in variables(text):
        assert name.isidentifier()
    assert limit(text) is None or limit(text) >= 0
    assert time_share(text) is None or time_share(text) >= 0
    assert all(number >= 0 for number in cpus(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [("4096", 4096), ("64K", 65536), ("1G", 2**30), ("infinity", None), (str(2**64 - 1), None), ("", None)],
)  # fmt: skip
def test_limits(text: str, value: int | None) -> None:
    assert limit(text) == value


def test_sizes_quotas_and_cpus() -> None:
    assert size_mib("536870912") == size_mib("512M") == 512
    assert size_mib("infinity") is None
    assert time_share("1.500000s") == time_share("150%") == time_share("1s 500ms") == 1.5
    assert time_share("infinity") is None
    assert cpus("0-2 4,6") == [0, 1, 2, 4, 6]
