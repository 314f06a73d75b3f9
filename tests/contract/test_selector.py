"""Selectors choose what they say, and what can't be read is told with its position."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.selector import (
    Requirement,
    Selector,
    is_device_id,
    is_label,
    parse_label,
    parse_selector,
)
from envcheck.errors import BadInput

WORD = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True)
VALUE = WORD | st.just("")
LABELS = st.dictionaries(st.sampled_from(["a", "b", "in"]), st.sampled_from(["x", "y", ""]), max_size=3)


def spelled(term: Requirement, style: int) -> str:
    """One of the ways to write a term."""
    if term.values is None:
        return f"!{term.key}" if term.negated else term.key
    if len(term.values) == 1 and style:
        sign = "!=" if term.negated else ("=", "==")[style - 1]
        return f"{term.key} {sign} {term.values[0]}"
    return f"{term.key} {'notin' if term.negated else 'in'} ({', '.join(term.values)})"


TERMS = st.builds(
    Requirement,
    key=WORD,
    values=st.none() | st.lists(WORD, min_size=1, max_size=3).map(tuple),
    negated=st.booleans(),
)


@given(st.lists(st.tuples(TERMS, st.integers(0, 2)), max_size=4))
def test_what_is_written_is_what_is_read(terms: list[tuple[Requirement, int]]) -> None:
    text = ",".join(spelled(term, style) for term, style in terms)
    assert parse_selector(text) == Selector(terms=tuple(term for term, _ in terms))


@given(st.text(alphabet="ab=!,() \tin/.-_\nµ'\\", max_size=30) | st.text(max_size=40))
def test_any_text_is_a_selector_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        assert isinstance(parse_selector(text).matches({"a": "b"}), bool)


@pytest.mark.parametrize(
    ("selector", "labels", "chosen"),
    [
        ("", {}, True),
        ("  ", {"a": "x"}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": ""}, False),
        ("a=x", {"a": "x"}, True),
        ("a==x", {"a": "x"}, True),
        ("a=x", {"a": "X"}, False),
        ("a=x", {}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a=,b", {"a": "", "b": "1"}, True),
        ("a!=x", {"a": "y"}, True),
        ("a!=x", {"a": "x"}, False),
        ("a!=x", {}, True),
        ("a!=", {"a": ""}, False),
        ("a in (x,y)", {"a": "y"}, True),
        ("a in (x,y)", {"a": "z"}, False),
        ("a in (x,y)", {}, False),
        ("a in(x)", {"a": "x"}, True),
        ("a notin (x,y)", {"a": "z"}, True),
        ("a notin (x,y)", {"a": "x"}, False),
        ("a notin (x,y)", {}, True),
        ("a=x,b!=y", {"a": "x", "b": "y"}, False),
        (" a = x , !b ", {"a": "x"}, True),
        ("in in (in,notin)", {"in": "notin"}, True),
        ("in", {"in": "x"}, True),
        ("team/line=press", {"team/line": "press"}, True),
    ],
)
def test_semantics(selector: str, labels: dict[str, str], chosen: bool) -> None:
    assert parse_selector(selector).matches(labels) is chosen


@given(TERMS, LABELS)
def test_negation_is_the_opposite(term: Requirement, labels: dict[str, str]) -> None:
    opposite = Requirement(key=term.key, values=term.values, negated=not term.negated)
    assert opposite.matches(labels) is not term.matches(labels)


@given(st.lists(TERMS, max_size=3), TERMS, LABELS)
def test_another_term_never_chooses_more(
    terms: list[Requirement], more: Requirement, labels: dict[str, str]
) -> None:
    wider, narrower = Selector(terms=tuple(terms)), Selector(terms=(*terms, more))
    assert wider.matches(labels) or not narrower.matches(labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b=c", "character 4: ',' should stand here, not '='"),
        ("a b", "character 3: ',' should stand here, not 'b'"),
        ("a,", "character 3: it ends where 'a name' should follow"),
        (",a", "character 1: ',' is not a label's key"),
        ("a,,b", "character 3: ',' is not a label's key"),
        ("!", "character 2: it ends where 'a name' should follow"),
        ("!!a", "character 2: '!' is not a label's key"),
        ("a in", "character 5: it ends where '(' should follow"),
        ("a in ()", "character 7: ')' is not a label's value"),
        ("a in (x", "character 8: it ends where ')' should follow"),
        ("a in (x y)", "character 9: ')' should stand here, not 'y'"),
        ("a in x", "character 6: '(' should stand here, not 'x'"),
        ("a=(", "character 3: '(' is not a label's value"),
        ("a = x/y", "character 5: 'x/y' is not a label's value"),
        ("a=x;b", "character 4: ';' has no meaning here"),
        ("a = 'x'", 'character 5: "\'" has no meaning here'),
        ("site=münchen", "character 7: 'ü' has no meaning here"),
        ("a=x\x1b[2J", "character 4: '\\x1b' has no meaning here"),
        ("-a=x", "character 1: '-a' is not a label's key"),
        (f"a={'x' * 64}", "is not a label's value"),
        ("a" * 2001, "longer than 2000"),
    ],
)
def test_the_position_of_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_selector(text)
    assert message in caught.value.message


@given(WORD, VALUE)
def test_labels(key: str, value: str) -> None:
    assert is_label(key, value)
    assert parse_label(f"{key}={value}") == (key, value)
    assert parse_selector(f"{key}={value}").matches({key: value})


@pytest.mark.parametrize(
    "text", ["", "a", "=b", "a=b=c", "a b=c", "a=b\n", "a\n=b", "ä=b", "a=" + "x" * 64, "-=x", "a=x/y"]
)
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(BadInput, match="is not a label"):
        parse_label(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("press-07", True),
        ("a", True),
        ("10.0.0.7", True),
        ("x" * 63, True),
        ("x" * 64, False),
        ("", False),
        ("Press", False),
        ("a/b", False),
        ("..", False),
        (".a", False),
        ("a-", False),
        ("a\n", False),
        ("a%2f", False),
        ("é", False),
    ],
)
def test_device_ids(text: str, fits: bool) -> None:
    assert is_device_id(text) is fits
