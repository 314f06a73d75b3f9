"""What every device's row holds, in few bytes. Nothing is lost: what does not fit is kept as written."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import LargeBinary, TypeDecorator
from sqlalchemy.engine import Dialect

_TEXT = b"text:"
_EMPTY = "{}"
# Where each number of a result stands; the first is the time it was measured at. The order never changes.
_NUMBERS = (
    ("latency", "p50_ms"),
    ("latency", "p90_ms"),
    ("peak_memory_mb",),
    ("throttled",),
    ("latency", "runs"),
    ("latency", "min_ms"),
    ("latency", "mad_ms"),
    ("starved",),
    ("latency", "p99_ms"),
)
_TRUTHS = {("throttled",), ("starved",)}
PLACES = {path: place for place, path in enumerate(_NUMBERS, 1)}


def pack_hex(text: str) -> bytes:
    """Return the bytes that a hexadecimal text stands for, or the text itself, marked, when it is another."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    return raw if raw.hex() == text and not raw.startswith(_TEXT) else _TEXT + text.encode()


def unpack_hex(data: bytes) -> str:
    """Return what was given to `pack_hex`."""
    return data[len(_TEXT) :].decode() if data.startswith(_TEXT) else data.hex()


class Hex(TypeDecorator[str]):
    """A hexadecimal text as bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Return what is stored."""
        return None if value is None else pack_hex(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text."""
        return None if value is None else unpack_hex(value)


class Base64(TypeDecorator[str]):
    """A text in base64 as bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Return what is stored."""
        if value is None:
            return None
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        same = base64.b64encode(raw).decode("ascii") == value and not raw.startswith(_TEXT)
        return raw if same else _TEXT + value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text."""
        if value is None:
            return None
        data = bytes(value)
        if data.startswith(_TEXT):
            return data[len(_TEXT) :].decode()
        return base64.b64encode(data).decode("ascii")


def short_name(bundle: str) -> str:
    """Return the name of a bundle among the results of one device: the first 32 bits of its digest."""
    return bundle[:8]


def pack_results(text: str) -> str:
    """Return the `results` of a NewReport with short names and positions in place of names.

    Of bundles that share a short name, none is kept: nothing then speaks for either.
    """
    if text == _EMPTY:
        return _EMPTY
    found: dict[str, dict[str, Any]] = msgspec.json.decode(text)
    packed = {short_name(bundle): _pack(result) for bundle, result in found.items()}
    if len(packed) < len(found):
        names = [short_name(bundle) for bundle in found]
        packed = {name: one for name, one in packed.items() if names.count(name) == 1}
    return msgspec.json.encode(packed).decode()


def unpack_results(text: str, bundles: Collection[str]) -> str:
    """Return the `results` again, of those among `bundles`, which the device's statement names."""
    if text == _EMPTY:
        return _EMPTY
    packed: dict[str, list[Any]] = msgspec.json.decode(text)
    found = {bundle: packed.get(short_name(bundle)) for bundle in bundles}
    unpacked = {bundle: _unpack(result) for bundle, result in found.items() if result is not None}
    return msgspec.json.encode(unpacked).decode()


def _pack(result: dict[str, Any]) -> list[Any]:
    latency = result.get("latency") or {}
    row: list[Any] = [_seconds(result["measured_at"])]
    for path in _NUMBERS:
        value = result.get(path[0]) if len(path) == 1 else latency.get(path[1])
        row.append(int(value) if isinstance(value, bool) else value)
    while row[-1] is None:
        row.pop()
    return row


def _unpack(row: list[Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"measured_at": _written(row[0])}
    for path, value in zip(_NUMBERS, row[1:], strict=False):
        if value is None:
            continue
        held = result.setdefault("latency", {}) if len(path) == 2 else result
        held[path[-1]] = bool(value) if path in _TRUTHS else value
    return result


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int | str:
    """Return a time as seconds, or as it is where it is written in another way than `_written` does."""
    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
        return seconds if _written(seconds) == text else _spelt(text)
    except (ValueError, OverflowError):
        return _spelt(text)


def _spelt(text: str) -> str:
    """Write a text without what separates the numbers beside it: SQL takes the row apart at those."""
    return "x" + text.encode().hex()


def _written(moment: int | str) -> str:
    if isinstance(moment, str):
        # Rows of before hold the text itself, which begins with a digit.
        return bytes.fromhex(moment[1:]).decode() if moment.startswith("x") else moment
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
