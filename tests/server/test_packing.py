"""Rows in few bytes: whatever goes in comes out again."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from envcheck.contract.evidence import Latency
from envcheck.contract.wire import Result
from envcheck_server.store.packing import (
    PLACES,
    Base64,
    pack_hex,
    pack_results,
    short_name,
    unpack_hex,
    unpack_results,
)

BUNDLES = ["a" * 64, "b" * 64, "0123456789abcdef" * 4]
quantities = st.none() | st.floats(0, 1e15)
times = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.5Z",
        "2026-01-01T00:00:00+00:00",
        "2026-02-03T04:05:06+05:30",
        "2026-01-01T00:00:00,5Z",
        '2026]"\u20ac,x:[',
    ]
)
latencies = st.builds(
    Latency,
    runs=st.integers(0, 10**9),
    min_ms=st.floats(0, 1e15),
    p50_ms=st.floats(0, 1e15),
    p90_ms=quantities,
    mad_ms=quantities,
    p99_ms=quantities,
)
results = st.builds(
    Result,
    evidence=st.just(""),
    measured_at=times,
    latency=st.none() | latencies,
    peak_memory_mb=quantities,
    throttled=st.none() | st.booleans(),
    starved=st.booleans(),
)


def as_reported(found: dict[str, Result]) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(found)
    for one in values.values():
        del one["evidence"]
    return values


def read(values: dict[str, Any]) -> dict[str, Result]:
    return {name: msgspec.convert({**one, "evidence": ""}, Result) for name, one in values.items()}


@given(st.dictionaries(st.sampled_from(BUNDLES), results))
def test_results_come_out_as_they_went_in(found: dict[str, Result]) -> None:
    packed = pack_results(msgspec.json.encode(as_reported(found)).decode())
    assert read(json.loads(unpack_results(packed, BUNDLES))) == found
    assert "\\u" not in packed, "PostgreSQL takes no escaped NUL apart"
    for name, row in json.loads(packed).items():
        cut_out = packed.split(f'"{name}":[')[1].split("]")[0]
        assert len(cut_out.split(",")) == len(row), "as PostgreSQL takes it apart"


def test_every_field_of_a_result_has_its_place() -> None:
    """A field that is added to a result is added to the packing too: at its end."""
    fields = {name for name in Result.__struct_fields__ if name not in ("evidence", "measured_at", "latency")}
    paths = {(name,) for name in fields} | {("latency", name) for name in Latency.__struct_fields__}
    assert set(PLACES) == paths
    assert sorted(PLACES.values()) == list(range(1, len(PLACES) + 1))


def test_a_row_from_before_times_were_spelt_is_read() -> None:
    """An upgrade leaves the rows of devices as they are until their next report."""
    told = "2026-01-01T00:00:00.5Z"
    before = json.dumps({short_name(BUNDLES[0]): [told, None, None, 92.4]})
    assert json.loads(unpack_results(before, BUNDLES)) == {
        BUNDLES[0]: {"measured_at": told, "peak_memory_mb": 92.4}
    }


def test_bundles_that_share_a_short_name_speak_for_nothing() -> None:
    """A device may state any digest: none may pass for another, here or in SQL."""
    one = {"measured_at": "2026-01-01T00:00:00Z", "peak_memory_mb": 1.0}
    twin, other = "a" * 63 + "b", "c" * 64
    packed = pack_results(json.dumps({"a" * 64: one, twin: one, other: one}))
    assert list(json.loads(packed)) == [short_name(other)]
    assert list(json.loads(unpack_results(packed, ["a" * 64, twin, other]))) == [other]


@given(st.text() | st.binary().map(bytes.hex) | st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_texts_come_out_as_they_went_in(text: str) -> None:
    assert unpack_hex(pack_hex(text)) == text
    kind, dialect = Base64(), sqlite.dialect()
    assert kind.process_result_value(kind.process_bind_param(text, dialect), dialect) == text


@pytest.mark.parametrize("text", [b"text:".hex(), b"text:more".hex(), "0a 0b", "0A", "00"])
def test_texts_that_look_like_something_else(text: str) -> None:
    assert unpack_hex(pack_hex(text)) == text


def test_keys_take_no_more_bytes_than_they_have() -> None:
    raw = os.urandom(32)
    assert pack_hex(raw.hex()) == raw
    assert Base64().process_bind_param(base64.b64encode(raw).decode(), sqlite.dialect()) == raw
