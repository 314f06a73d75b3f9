"""Release names: NAME@VERSION."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.baseline import parse_release
from envcheck.errors import BadInput

NAME = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
VERSION = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", fullmatch=True)


@given(NAME, VERSION)
def test_a_release_is_taken_apart(name: str, version: str) -> None:
    assert parse_release(f"{name}@{version}") == (name, version)


@given(st.text(alphabet="aA1@._+-/\n é", max_size=12) | st.text(max_size=20))
def test_any_text_is_a_release_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        assert "@".join(parse_release(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "digits",
        "digits@",
        "@1",
        "Digits@1",
        "digits@1@2",
        "digits @1",
        "digits@1\n",
        "../x@1",
        "digits@../1",
        "digits@/1",
        "a" * 65 + "@1",
        "a@" + "1" * 65,
        "a@" + "/" * 10_000,
    ],
)
def test_what_is_no_release(text: str) -> None:
    with pytest.raises(BadInput, match="is not a release") as caught:
        parse_release(text)
    assert "like digits@1.3" in caught.value.hint
    assert len(caught.value.message) < 200
