"""A reader of the protobuf wire format: just enough to look into an ONNX file on a device without `onnx`.

Pure and bounded: one pass over the bytes for each level, nothing is copied but what is asked for, and
whatever is not a message raises Malformed.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT_BYTES = 10
_MASK = (1 << 64) - 1
_FIXED = {1: 8, 5: 4}


class Malformed(ValueError):
    """The bytes are no protobuf message."""


class Message:
    """One message: its fields by number, each with every value it occurred with.

    A value is an int (varint) or a memoryview (bytes, strings, messages, and numbers of fixed width).
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integer(self, number: int, default: int = 0) -> int:
        """Return a signed 64-bit number; the last occurrence wins, as protobuf has it."""
        values = self._fields.get(number)
        if not values:
            return default
        if not isinstance(values[-1], int):
            raise Malformed(f"field {number} is no number")
        return _signed(values[-1])

    def integers(self, number: int) -> list[int]:
        """Return a repeated number, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            found.extend([_signed(value)] if isinstance(value, int) else _packed(value))
        return found

    def data(self, number: int) -> list[memoryview]:
        """Return every occurrence of a field of bytes."""
        values = self._fields.get(number, [])
        if any(isinstance(value, int) for value in values):
            raise Malformed(f"field {number} is a number where bytes should be")
        return [value for value in values if not isinstance(value, int)]

    def texts(self, number: int) -> list[str]:
        """Return a repeated string; what is not UTF-8 in it is replaced."""
        return [str(value, "utf-8", "replace") for value in self.data(number)]

    def text(self, number: int) -> str:
        """Return a string, empty when it is absent."""
        return next(reversed(self.texts(number)), "")

    def messages(self, number: int) -> Iterator[Message]:
        """Read a repeated message, one after the other."""
        return (Message(value) for value in self.data(number))

    def message(self, number: int) -> Message | None:
        """Read a single message, None when it is absent; several occurrences are one, as protobuf has it."""
        parts = self.data(number)
        if not parts:
            return None
        return Message(parts[0] if len(parts) == 1 else b"".join(parts))


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise Malformed(f"there is no field number {number}")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        length, at = (_FIXED[kind], at) if kind in _FIXED else _length(data, at, kind)
        if length > end - at:
            raise Malformed("a field is longer than what holds it")
        yield number, data[at : at + length]
        at += length


def _length(data: memoryview, at: int, kind: int) -> tuple[int, int]:
    if kind != 2:
        raise Malformed(f"there is no wire type {kind}")
    return _varint(data, at)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & _MASK, at + index + 1
    raise Malformed("a number does not end")


def _packed(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
