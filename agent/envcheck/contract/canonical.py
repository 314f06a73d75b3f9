"""Canonical JSON: one value has one spelling, so equal values have equal digests."""

from __future__ import annotations

import functools
import json
import math
import sys
from typing import Any, get_args

import msgspec

try:
    if sys.version_info >= (3, 12):
        from _sha2 import sha256 as _small_sha256
    else:
        from _sha256 import sha256 as _small_sha256  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha256 as _small_sha256

MAX_DEPTH = 64
_SAFE_INTEGER = 2**63
_ABSENT = object()
_MUCH = 1 << 20
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class Unwritable(ValueError):
    """A value that has no canonical form; `path` says where in the whole it stands."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.steps: list[str | int] = []

    def __str__(self) -> str:
        path = join_path(self.steps)
        return f"{path}: {self.message}" if path else self.message

    def below(self, step: str | int) -> Unwritable:
        """Return this error, one level further out."""
        self.steps.insert(0, step)
        return self


def canonical_json(value: Any) -> bytes:
    """Return the canonical bytes of `value`: sorted keys, ASCII, no spaces, floats written exactly.

    `value` may be plain data or a msgspec Struct. Floats are written in the shortest form that
    reads back as the same number; fields that equal their default are left out, and a whole number in a
    field of floats is written as a float, so a value that was read back has the same bytes again.
    Raises Unwritable (a ValueError) for what does not read back equal everywhere: NaN, infinities,
    integers beyond 64 bits, half surrogate pairs, keys that are not strings, nesting beyond MAX_DEPTH,
    and types that JSON does not know.
    """
    return write(plain(value))


def write(value: Any) -> bytes:
    """Return the canonical bytes of what `plain` returned."""
    return _ENCODER.encode(value).encode("ascii")


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    if len(data) < _MUCH:
        return str(_small_sha256(data).hexdigest())
    # Several times as fast, but it loads OpenSSL: three milliseconds and as many megabytes.
    import hashlib

    return hashlib.sha256(data).hexdigest()


def significant(value: float, digits: int = 3) -> float:
    """Round to `digits` significant decimal digits, so that equal machines give equal evidence.

    Infinities and NaN are returned as they are.
    """
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{digits - 1}e}")


def plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as dicts, lists and scalars, ready to be written; raises Unwritable as above."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if depth >= MAX_DEPTH:
        raise Unwritable(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return _mapping(value, depth + 1)
    if isinstance(value, list | tuple):
        return _sequence(value, depth + 1)
    if isinstance(value, msgspec.Struct):
        return _struct(value, depth + 1)
    raise Unwritable(f"a {type(value).__name__} is neither text, a number, a list nor a mapping")


def join_path(steps: list[str | int]) -> str:
    """Write a path as people do: `sections.cpu.flags[2]`; each name is cut at 100 characters."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:100]}" for step in steps)
    return text.removeprefix(".")


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Unwritable("text with half a surrogate pair (bytes that are not UTF-8?)") from None
    return value


def _number(value: float) -> float:
    if isinstance(value, int):
        if not -_SAFE_INTEGER <= value < 2 * _SAFE_INTEGER:
            raise Unwritable("an integer beyond 64 bits")
    elif not math.isfinite(value):
        raise Unwritable(f"{value} is not a finite number")
    return value


def _mapping(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise Unwritable(f"the key {str(key)[:100]!r} is a {type(key).__name__}, not text (quote it)")
        name = _text(key)
        try:
            result[name] = plain(item, depth)
        except Unwritable as error:
            raise error.below(key) from None
    return result


def _sequence(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    result: list[Any] = []
    try:
        result.extend(plain(item, depth) for item in value)
    except Unwritable as error:
        raise error.below(len(result)) from None
    return result


def _struct(value: msgspec.Struct, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, default, is_float in _layout(type(value)):
        item = getattr(value, name)
        if is_float and isinstance(item, int) and not isinstance(item, bool):
            item = float(item)
        try:
            written = plain(item, depth)
        except Unwritable as error:
            raise error.below(name) from None
        if type(written) is not type(default) or written != default:
            result[name] = written
    return result


@functools.cache
def _layout(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any, bool], ...]:
    """The fields of a Struct: name, the default as it would be written, whether it holds floats only."""
    return tuple(
        (field.name, _default(kind, field), _is_float(field.type)) for field in msgspec.structs.fields(kind)
    )


def _default(kind: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Any:
    if not kind.__struct_config__.omit_defaults:
        return _ABSENT
    if field.default is not msgspec.NODEFAULT:
        return plain(field.default)
    return _ABSENT if field.default_factory is msgspec.NODEFAULT else plain(field.default_factory())


def _is_float(hint: Any) -> bool:
    parts = set(get_args(hint) or (hint,))
    if any(isinstance(part, msgspec.Meta) for part in parts):
        return _is_float(get_args(hint)[0])
    return float in parts and int not in parts
