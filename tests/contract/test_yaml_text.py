"""YAML is read as plain data, or refused with line and column."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.documents import NAMES

from envcheck.contract.yaml_text import read_yaml
from envcheck.errors import BadInput

PRINTABLE = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(PRINTABLE, PLAIN, max_size=4))
def test_plain_data_reads_back(value: dict[str, Any]) -> None:
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    assert read_yaml(yaml.dump(value, Dumper=NoAliases), "x.yaml") == value


@given(st.text(alphabet="a1:-[]{}&*!|>\n '\"#%@,?=<~.", max_size=30) | st.text(max_size=30) | NAMES)
def test_any_text_is_yaml_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        read_yaml(text, "x.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 2026-01-01 10:00:00\nb: 24h", {"a": "2026-01-01 10:00:00", "b": "24h"}),
        ("a: [1, 1.5, yes, x]", {"a": [1, 1.5, True, "x"]}),
        ("a: &name 1", {"a": 1}),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert read_yaml(text, "x.yaml") == value


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice"),
        ("r:\n- {severity: block, severity: info}", "line 2, column 21: the key 'severity' is there twice"),
        ("a: &x [1]\nb: *x\n", "an alias"),
        ("a: &x {b: *x}\n", "an alias"),
        (BOMB, "an alias"),
        ("a: [1\nb: 2", "line 2, column"),
        ("a: !!python/object/apply:os.system [id]", "line 1, column 4: could not determine a constructor"),
        ("a: 1\n---\nb: 1", "another document"),
        ("a: !!int x", "holds a value that can't be read"),
        ("a: !!bool x", "holds a value that can't be read"),
        ("a: " + "1" * 5000, "holds a value that can't be read"),
        ("[" * 100_000, "nested too deeply"),
        ("a: \x00", "special characters are not allowed"),
        ("x" * 2_000_000, "larger than"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_yaml(text, "x.yaml")
    assert message in caught.value.message
    assert caught.value.message.startswith("x.yaml ")
    assert len(caught.value.message) < 400
