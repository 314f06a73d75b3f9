"""Weights too small for a normal number: arithmetic on them is slow where they are not flushed to zero."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envcheck.smoke.arrays import numpy
from envcheck.smoke.nodes import element_type, read_nodes
from envcheck.smoke.protobuf import Message

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

# Element type -> the unsigned type of its width, its exponent's bits, everything but its sign.
# float16 is left out: its subnormals become normal floats before anything is multiplied, at full speed.
_BITS = {
    "float32": ("<u4", 0x7F800000, 0x7FFFFFFF),
    "float64": ("<u8", 0x7FF0000000000000, 0x7FFFFFFFFFFFFFFF),
    "bfloat16": ("<u2", 0x7F80, 0x7FFF),
}
# Where TensorProto keeps numbers that are not raw: float_data, double_data.
_TYPED = {"float32": 4, "float64": 10}
_INT32_DATA, _RAW_DATA = 5, 9
_CHUNK = 4 * 2**20


def count_subnormals(model: bytes) -> int:
    """Count the subnormal numbers among all constants of a model that `read_graph` has read."""
    message = Message(model)
    body = message.message(7)
    if body is None:
        return 0
    return sum(_count(tensor) for tensor in read_nodes(body, list(message.messages(25))).tensors)


def _count(tensor: Message) -> int:
    kind = element_type(tensor.integer(2))
    if kind not in _BITS:
        return 0
    unsigned, exponent, magnitude = _BITS[kind]
    np = numpy()
    found = 0
    for bits in _pieces(tensor, kind, unsigned):
        for start in range(0, len(bits), _CHUNK):
            part = bits[start : start + _CHUNK]
            found += int(np.count_nonzero(((part & exponent) == 0) & ((part & magnitude) != 0)))
    return found


def _pieces(tensor: Message, kind: str, unsigned: str) -> Iterator[Array]:
    """Yield the bits of the tensor's elements; a number that is cut off ends it."""
    np = numpy()
    fields = [_RAW_DATA, *([_TYPED[kind]] if kind in _TYPED else [])]
    for field in fields:
        parts = tensor.data(field)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        yield np.frombuffer(data, unsigned, len(data) // np.dtype(unsigned).itemsize)
    if kind not in _TYPED:
        # Bits of narrow types are kept as whole numbers.
        yield np.asarray(tensor.integers(_INT32_DATA), np.int64).astype(unsigned)
