"""Canonical JSON: one value has one spelling, so equal values have equal digests."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import msgspec

_SAFE_INTEGER = 2**63


def canonical_json(value: Any) -> bytes:
    """Return the canonical bytes of `value`: sorted keys, ASCII, no spaces, floats written exactly.

    `value` may be plain data or a msgspec Struct. Floats are written in the shortest form that
    reads back as the same number. Raises ValueError for NaN, infinities and integers beyond 64 bits, and
    TypeError for keys that are not strings: none of them reads back equal everywhere.
    """
    plain = msgspec.to_builtins(value)
    _check(plain)
    return json.dumps(
        plain, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":")
    ).encode("ascii")


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def significant(value: float, digits: int = 3) -> float:
    """Round to `digits` significant decimal digits, so that equal machines give equal evidence.

    Infinities and NaN are returned as they are.
    """
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{digits - 1}e}")


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a canonical key must be a string, not {type(key).__name__}")
            _check(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif isinstance(value, int) and not -_SAFE_INTEGER <= value < 2 * _SAFE_INTEGER:
        raise ValueError("an integer beyond 64 bits has no canonical form")
