"""One value has one spelling, and what is written reads back as the same value."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import FLOATS, JSON, NAMES

from envcheck.contract.canonical import MAX_DEPTH, Unwritable, canonical_json, digest, significant
from envcheck.contract.evidence import Decisions, Evidence, Latency, Runtime


def bits(value: Any) -> Any:
    """`value` with floats replaced by their bits, so that 0.0, -0.0, 0 and False are four things."""
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list):
        return [bits(item) for item in value]
    return (type(value).__name__, struct.pack(">d", value) if isinstance(value, float) else value)


@given(JSON)
def test_any_value_reads_back_the_same_by_two_decoders(value: Any) -> None:
    data = canonical_json(value)
    assert bits(json.loads(data)) == bits(value)
    assert bits(msgspec.json.decode(data)) == bits(value)


@given(JSON)
def test_only_visible_ascii_is_written(value: Any) -> None:
    assert all(0x20 <= byte < 0x7F for byte in canonical_json(value))


@given(st.dictionaries(NAMES, JSON, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_never_matters(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)


@given(JSON, JSON)
def test_values_have_equal_bytes_when_they_are_equal_and_only_then(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (bits(one) == bits(other))


@given(JSON)
def test_writing_what_was_read_changes_nothing(value: Any) -> None:
    data = canonical_json(value)
    assert canonical_json(json.loads(data)) == data


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (-0.0, b"-0.0"),
        (0.0, b"0.0"),
        (0, b"0"),
        (5e-324, b"5e-324"),
        (2.2250738585072014e-308, b"2.2250738585072014e-308"),
        (1e308, b"1e+308"),
        (0.1, b"0.1"),
        (1e16, b"1e+16"),
        (2**64 - 1, b"18446744073709551615"),
        (-(2**63), b"-9223372036854775808"),
        ({"b": 1, "a": (True, None)}, b'{"a":[true,null],"b":1}'),
        ('ä€\U0001f600\x00\n\x7f"\\', b'"\\u00e4\\u20ac\\ud83d\\ude00\\u0000\\n\\u007f\\"\\\\"'),
        (
            {"é": 1, "e": 2, "\U0001f600": 3, "\uffff": 4},
            b'{"e":2,"\\u00e9":1,"\\uffff":4,"\\ud83d\\ude00":3}',
        ),
    ],
)
def test_spelling(value: Any, written: bytes) -> None:
    assert canonical_json(value) == written


@given(FLOATS)
def test_floats_are_exact(value: float) -> None:
    assert struct.pack("d", json.loads(canonical_json(value))) == struct.pack("d", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"b": math.nan}]}, "a[1].b: nan is not a finite number"),
        ([math.inf], "[0]: inf is not a finite number"),
        (-math.inf, "-inf is not a finite number"),
        ({"n": 2**64}, "n: an integer beyond 64 bits"),
        (-(2**63) - 1, "an integer beyond 64 bits"),
        ({"a": {1: 2}}, "a: the key '1' is a int, not text (quote it)"),
        ({None: 2}, "the key 'None' is a NoneType, not text (quote it)"),
        ({"a": "\ud800"}, "a: text with half a surrogate pair (bytes that are not UTF-8?)"),
        ({"\udcff": 1}, "text with half a surrogate pair (bytes that are not UTF-8?)"),
        (["\ud83d\ude00"], "[0]: text with half a surrogate pair (bytes that are not UTF-8?)"),
        ({"a": b"raw"}, "a: a bytes is neither text, a number, a list nor a mapping"),
        ({"a": {1, 2}}, "a: a set is neither text, a number, a list nor a mapping"),
    ],
)
def test_what_does_not_read_back_equal_everywhere_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(Unwritable) as caught:
        canonical_json(value)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_is_bounded_and_a_cycle_is_no_endless_loop() -> None:
    assert canonical_json(nested(MAX_DEPTH)) == b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    with pytest.raises(Unwritable, match=f"deeper than {MAX_DEPTH} levels"):
        canonical_json(nested(MAX_DEPTH + 1))
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    with pytest.raises(Unwritable, match="deeper than"):
        canonical_json(cycle)


def test_equal_structs_have_equal_bytes_whatever_objects_their_defaults_are() -> None:
    assert canonical_json(Decisions(total=1, largest_margin=float("0"))) == canonical_json(Decisions(total=1))
    assert canonical_json(Latency(runs=1, min_ms=5, p50_ms=6)) == b'{"min_ms":5.0,"p50_ms":6.0,"runs":1}'


def test_a_default_is_not_shared_between_values() -> None:
    one, other = (Evidence(bundle="b", fingerprint="f", ending={"status": "ok"}) for _ in range(2))  # type: ignore[arg-type]
    one.runtime.options["threads"] = "1"
    one.canaries["u8s8"] = "exact"
    assert (other.runtime, other.canaries) == (Runtime(), {})
    assert Runtime().options == {}


def test_digests_do_not_depend_on_the_seed_of_hashing() -> None:
    program = (
        "from envcheck.contract.canonical import canonical_json, digest;"
        "print(digest(canonical_json({name: {name + 'x': [name]} for name in 'python cpu memory'.split()})))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(seen) == 1


def test_digest_is_sha256() -> None:
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(FLOATS.filter(lambda value: abs(value) > 1e-290 and abs(value) < 1e290), st.integers(1, 12))
def test_significant_is_near_and_settled(value: float, digits: int) -> None:
    rounded = significant(value, digits)
    assert abs(rounded - value) <= 0.500001 * 10 ** (1 - digits) * abs(value)
    assert significant(rounded, digits) == rounded
    assert len(repr(rounded).split("e")[0].replace(".", "").strip("-0")) <= digits


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1234.5, 1230.0),
        (0.0012349, 0.00123),
        (-9.999, -10.0),
        (0.0, 0.0),
        (math.inf, math.inf),
        (5e-324, 5e-324),
    ],
)
def test_significant(value: float, expected: float) -> None:
    assert significant(value) == expected
    assert math.isnan(significant(math.nan))
    assert math.copysign(1, significant(-0.0)) == -1
