"""Canaries: tiny sums with known answers, which tell how this machine computes, without the model.

One graph of independent parts, shipped as bytes (scripts/make_canaries.py prints them) and run on
CPUExecutionProvider in the same child as the model. What comes out:

u8s8        `exact`, or `saturates`: int8 products lose their upper bits, without any error
fma         `fused` multiply-add, or `separate`
denormals   `kept`, or `flushed` to zero
exp tanh erf  the first digits of the digest of 64 values: equal where the last bits are
"""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envcheck.contract.canonical import digest
from envcheck.smoke.metrics import raw_bytes

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

PROVIDER = "CPUExecutionProvider"
_KNOWN: dict[str, dict[float, str]] = {
    # 64 products of 255 and 127: with pairs added in 16 bits, each pair stops at 32767.
    "u8s8": {2072640: "exact", 1048544: "saturates"},
    "fma": {2.0**-24: "fused", 0.0: "separate"},
    "denormals": {71362 * 2.0**-149: "kept", 0.0: "flushed"},  # the float32 nearest to 1e-40
}
_LAST_BITS = ("exp", "tanh", "erf")
_MODEL = """
    CAcSCGVudmNoZWNrOtALCiUKBWJ5dGVzCgd3ZWlnaHRzEgR1OHM4Ig1NYXRNdWxJbnRlZ2VyCiAKBXNtYWxsCgdzbWFsbGVy
    EglkZW5vcm1hbHMiA011bAoaCgRsZWZ0CgVyaWdodBIDZm1hIgZNYXRNdWwKEgoGcG9pbnRzEgNleHAiA0V4cAoUCgZwb2lu
    dHMSBHRhbmgiBFRhbmgKEgoGcG9pbnRzEgNlcmYiA0VyZhIIY2FuYXJpZXMqkggIQAgQEANCB3dlaWdodHNKgAh/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/
    f39/f39/f39/WhcKBWJ5dGVzEg4KDAgCEggKAggECgIIQFoTCgVzbWFsbBIKCggIARIECgIIBFoVCgdzbWFsbGVyEgoKCAgB
    EgQKAggEWhYKBGxlZnQSDgoMCAESCAoCCAQKAggCWhcKBXJpZ2h0Eg4KDAgBEggKAggCCgIIEFoUCgZwb2ludHMSCgoICAES
    BAoCCEBiFgoEdThzOBIOCgwIBhIICgIIBAoCCBBiFwoJZGVub3JtYWxzEgoKCAgBEgQKAggEYhUKA2ZtYRIOCgwIARIICgII
    BAoCCBBiEQoDZXhwEgoKCAgBEgQKAghAYhIKBHRhbmgSCgoICAESBAoCCEBiEQoDZXJmEgoKCAgBEgQKAghAQgQKABAN
"""


def canary_model() -> bytes:
    """Return the canary graph as ONNX bytes."""
    return base64.b64decode(_MODEL)


def canary_inputs() -> bytes:
    """Return the canaries' inputs as an npz, written without numpy: it may still be on its way."""
    points = [-4 + 8 * step / 63 for step in range(64)]
    # -(1 + 2^-11) + (1 + 2^-12)^2 is 2^-24 when the product is not rounded before it is added.
    arrays = {
        "bytes": _npy("|u1", (4, 64), b"\xff" * 256),
        "small": _floats((4,), [1e-30] * 4),
        "smaller": _floats((4,), [1e-10] * 4),
        "left": _floats((4, 2), [-1, 1 + 2**-12] * 4),
        "right": _floats((2, 16), [1 + 2**-11] * 16 + [1 + 2**-12] * 16),
        "points": _floats((64,), points),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def _floats(shape: tuple[int, ...], values: Sequence[float]) -> bytes:
    return _npy("<f4", shape, struct.pack(f"<{len(values)}f", *values))


def _npy(descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii") + data


def read_canaries(outputs: Mapping[str, Array]) -> dict[str, str]:
    """Say in words what the raw outputs of the canary graph mean."""
    said = {name: _say(outputs[name], known) for name, known in _KNOWN.items() if name in outputs}
    bits = {name: digest(raw_bytes(outputs[name]))[:12] for name in _LAST_BITS if name in outputs}
    return said | bits


def _say(output: Array, known: Mapping[float, str]) -> str:
    values = sorted(set(output.ravel().tolist()))
    if len(values) == 1 and values[0] in known:
        return known[values[0]]
    return "other:" + ",".join(f"{value:.9g}" for value in values[:4])
