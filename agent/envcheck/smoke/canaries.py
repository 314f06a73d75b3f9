"""Canaries: tiny sums with known answers, which tell how this machine computes, without the model.

Graphs of independent parts, shipped as bytes and run in the same child as the model. On CPUExecutionProvider:

u8s8 s8s8 u8u8  `exact`, or `saturates`: int8 products lose their upper bits, without any error; by the
                types of activations and weights (s8s8 in the form that quantisers write, Q/DQ)
fma             `fused` multiply-add, or `separate`
denormals       `kept`, or `flushed` to zero
exp tanh erf products sums
                the first digits of the digest of the values: equal where the last bits are

On the provider that serves the model (the first that was asked for):

tf32 bf16       one product of float32 numbers: `exact`, `tf32-like` or `bf16-like` (what rounded them first)
float16         `exact` (sums kept wide, rounded once), `half-sums`, or `as-float32` (never rounded to half)
bfloat16        `exact`, `half-sums`, `as-float32`; `none` where there is no such kernel
"""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envcheck.contract.canonical import digest
from envcheck.smoke.canary_models import BFLOAT16, CANARIES, SERVED
from envcheck.smoke.job import SessionResult, SessionSpec
from envcheck.smoke.metrics import raw_bytes

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

CPU = "CPUExecutionProvider"
# Sessions, models and inputs have these names alike.
ON_CPU, ON_SERVED, ON_BFLOAT16 = "canaries", "canaries-served", "canaries-bfloat16"
_SIDE = 64
_KNOWN: dict[str, dict[float, str]] = {
    # 64 products of 255 and 127: with pairs added in 16 bits, each pair stops at 32767.
    "u8s8": {2072640: "exact", 1048544: "saturates"},
    "u8u8": {4161600: "exact"},
    # 64 products of 127 and 127 in steps of 16384; with 255 in the place of 127 next to nothing is left.
    "s8s8": {1032192: "exact", 0.0: "saturates"},
    "fma": {2.0**-24: "fused", 0.0: "separate"},
    "denormals": {71362 * 2.0**-149: "kept", 0.0: "flushed"},  # the float32 nearest to 1e-40
    # 32 pairs of 1 + 2^-12 and 1 + 2^-9: a mantissa of 10 bits loses the first, one of 7 bits both.
    "tf32": {64 + 32 * (2.0**-12 + 2.0**-9): "exact", 64 + 32 * 2.0**-9: "tf32-like", 64.0: "bf16-like"},
    # A number to which half precision can't add 1, and 63 ones.
    "float16": {2112.0: "exact", 2048.0: "half-sums", 2111.0: "as-float32"},
    "bfloat16": {320.0: "exact", 256.0: "half-sums", 319.0: "as-float32"},
}
_LAST_BITS = ("exp", "tanh", "erf", "products", "sums")
_OF_SERVED = ("tf32", "bf16", "float16", "bfloat16")


def canary_models() -> dict[str, bytes]:
    """Return the graphs as ONNX bytes, by session."""
    graphs = {ON_CPU: CANARIES, ON_SERVED: SERVED, ON_BFLOAT16: BFLOAT16}
    return {name: base64.b64decode(graph) for name, graph in graphs.items()}


def canary_inputs() -> dict[str, bytes]:
    """Return the canaries' inputs by session, as npz written without numpy: it may still be on its way."""
    points = [-4 + 8 * step / 63 for step in range(64)]
    # -(1 + 2^-11) + (1 + 2^-12)^2 is 2^-24 when the product is not rounded before it is added.
    alone = {
        "bytes": _npy("|u1", (4, 64), b"\xff" * 256),
        "large": _npy("|u1", (64, 16), b"\xff" * 1024),
        "signed": _floats((4, 64), [127] * 256),
        "small": _floats((4,), [1e-30] * 4),
        "smaller": _floats((4,), [1e-10] * 4),
        "left": _floats((4, 2), [-1, 1 + 2**-12] * 4),
        "right": _floats((2, 16), [1 + 2**-11] * 16 + [1 + 2**-12] * 16),
        "points": _floats((64,), points),
        "rows": _floats((8, 96), _scattered(8 * 96, 1)),
        "columns": _floats((96, 24), _scattered(96 * 24, 77)),
    }
    ones = _square([1.0] * _SIDE)
    served = {
        "precise": _square([1 + 2**-12, 1 + 2**-9] * (_SIDE // 2)),
        "halves": _square([2048.0] + [1.0] * (_SIDE - 1)),
        "ones": ones,
    }
    brains = {"brains": _square([256.0] + [1.0] * (_SIDE - 1)), "ones": ones}
    return {ON_CPU: _npz(alone | served), ON_SERVED: _npz(served), ON_BFLOAT16: _npz(brains)}


def canary_sessions(requested: Sequence[str]) -> list[SessionSpec]:
    """Return the sessions that run the canaries where `requested` are the model's providers."""

    def session(name: str, *providers: str) -> SessionSpec:
        return SessionSpec(
            name=name,
            model=name,
            inputs=[name],
            providers=list(dict.fromkeys(providers)),
            threads=1,
            placement=providers != (CPU,),
            optional=True,
        )

    first = requested[0]
    served = [session(ON_SERVED, first, CPU)] if first != CPU else []
    return [session(ON_CPU, CPU), *served, session(ON_BFLOAT16, first, CPU)]


def say_canaries(
    requested: Sequence[str],
    sessions: Mapping[str, SessionResult],
    outputs: Mapping[str, Mapping[str, Array]],
) -> dict[str, str]:
    """Say in words what came out of the canaries' sessions (name to result, name to raw outputs).

    What a provider of its own answered counts only when its session shows that it was the one who ran it.
    """
    said = read_canaries(outputs.get(ON_CPU, {}))
    first = requested[0]
    served = sessions.get(ON_SERVED)
    if served is not None and first in served.registered:
        said = {name: word for name, word in said.items() if name not in _OF_SERVED}
        if _ran_on(first, served):
            said |= read_canaries(outputs.get(ON_SERVED, {}))
    narrow = sessions.get(ON_BFLOAT16)
    if narrow is not None and _has_no_kernel(narrow):
        said["bfloat16"] = "none"
    elif narrow is not None and _ran_on(first, narrow):
        said |= read_canaries(outputs.get(ON_BFLOAT16, {}))
    return said


def read_canaries(outputs: Mapping[str, Array]) -> dict[str, str]:
    """Say in words what the raw outputs of a canary graph mean."""
    said = {name: _say(outputs[name], known) for name, known in _KNOWN.items() if name in outputs}
    bits = {name: digest(raw_bytes(outputs[name]))[:12] for name in _LAST_BITS if name in outputs}
    return said | bits | ({"bf16": said["tf32"]} if "tf32" in said else {})


def _ran_on(provider: str, session: SessionResult) -> bool:
    nodes = session.placement.nodes
    return provider in nodes and (provider == CPU or "MatMul" not in nodes.get(CPU, {}))


def _has_no_kernel(session: SessionResult) -> bool:
    return "NOT_IMPLEMENTED" in session.error or "NotImplemented" in session.error


def _scattered(count: int, start: int) -> list[float]:
    """Numbers between -0.5 and 0.5 without any order in them, the same everywhere."""
    return [(step * 7919 + start) % 1021 / 1021 - 0.5 for step in range(count)]


def _square(row: Sequence[float]) -> bytes:
    return _npy("<f4", (_SIDE, _SIDE), struct.pack(f"<{_SIDE}f", *row) * _SIDE)


def _floats(shape: tuple[int, ...], values: Sequence[float]) -> bytes:
    return _npy("<f4", shape, struct.pack(f"<{len(values)}f", *values))


def _npy(descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii") + data


def _npz(arrays: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def _say(output: Array, known: Mapping[float, str]) -> str:
    values = sorted(set(output.ravel().tolist()))
    if len(values) == 1 and values[0] in known:
        return known[values[0]]
    return "other:" + ",".join(f"{value:.9g}" for value in values[:4])
