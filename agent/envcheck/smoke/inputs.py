"""Golden inputs: read without ever loading a pickle, and held to what the graph declares."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envcheck.contract.baseline import TensorSpec
from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy, type_name

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

MAX_BYTES = 1024**3
# What zipfile raises for bytes that are no zip, or a damaged or encrypted one.
_NO_ZIP = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError),
)
_AGAIN = "write the file again: numpy.savez(FILE, NAME=array, ...)"
_PLAIN = "save plain arrays of numbers, booleans or text (array.astype('U') for strings)"


@dataclass(frozen=True)
class Batching:
    """How inputs go through the model: `samples` in all, in `slices` equal parts of the inputs `sliced`.

    One slice is the rule. A graph whose batch dimension is fixed to a smaller number gets that
    many samples at a time, and its outputs are joined along their first axis.
    """

    samples: int
    slices: int = 1
    sliced: list[str] = field(default_factory=list)


def load_npz(data: bytes, source: str, *, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Read the arrays of an npz file by name; `source` names the file in errors.

    Raises BadInput for what is no npz, is truncated, claims more than `max_bytes`, or holds
    Python objects: those would be a pickle, which is never loaded.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_claims(members, len(data), source, max_bytes)
            return {_array_name(info, source): _read_member(archive, info, source) for info in members}
    except _NO_ZIP:
        raise BadInput(f"{source} is not an npz file, or it is truncated", _AGAIN) from None


def check_inputs(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], source: str) -> Batching:
    """Hold `arrays` to the inputs that the graph declares and say how they go through it.

    Raises BadInput naming the input, what the model wants and what was found.
    """
    wanted = ", ".join(spec.name for spec in specs) or "none"
    for spec in specs:
        if spec.name not in arrays:
            found = ", ".join(arrays) or "nothing"
            raise BadInput(
                f"{source} lacks the input {spec.name!r}", f"it has {found}; the model wants {wanted}"
            )
    for name in arrays:
        if all(spec.name != name for spec in specs):
            raise BadInput(f"{source}: the model has no input {name!r}", f"the model wants {wanted}")
    for spec in specs:
        _check_one(arrays[spec.name], spec, source)
    _check_symbols(arrays, specs, source)
    return _batching(arrays, specs, source)


def _check_claims(members: list[zipfile.ZipInfo], size: int, source: str, max_bytes: int) -> None:
    claimed = sum(info.file_size for info in members)
    if claimed > max_bytes:
        raise BadInput(
            f"{source} unpacks to {claimed / 2**20:.0f} MB, more than the {max_bytes / 2**20:.0f} MB allowed",
            "use fewer samples",
        )
    for info in members:
        if info.compress_type == zipfile.ZIP_STORED and info.file_size > size:
            raise BadInput(
                f"{source}: the member {info.filename!r} claims to be larger than the file", _AGAIN
            )


def _array_name(info: zipfile.ZipInfo, source: str) -> str:
    if not info.filename.endswith(".npy"):
        raise BadInput(f"{source}: the member {info.filename[:80]!r} is not an array", _AGAIN)
    return info.filename[: -len(".npy")]


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> Array:
    np = numpy()
    where = f"{source}: the member {info.filename!r}"
    stream = io.BytesIO(archive.read(info))
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(stream)
    except (ValueError, KeyError):
        raise BadInput(f"{where} is not a numpy array", _AGAIN) from None
    if dtype.hasobject:
        raise BadInput(f"{where} holds Python objects (a pickle), which is never loaded", _PLAIN)
    if dtype.kind not in "biufcU":
        raise BadInput(f"{where} has the type {dtype}, which no model takes", _PLAIN)
    content = stream.read()
    if any(length < 0 for length in shape) or len(content) != math.prod(shape) * dtype.itemsize:
        raise BadInput(f"{where} is truncated: its header says {list(shape)} of {dtype}", _AGAIN)
    flat: Array = np.frombuffer(content, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _check_one(array: Array, spec: TensorSpec, source: str) -> None:
    where = f"{source}: the input {spec.name!r}"
    if type_name(array) != spec.dtype:
        raise BadInput(
            f"{where} is {type_name(array)}, the model wants {spec.dtype}",
            f"convert it: {spec.name}.astype({spec.dtype!r})" if spec.dtype != "string" else _PLAIN,
        )
    if spec.shape is None:
        return
    wanted = _spelled(spec.shape)
    if array.ndim != len(spec.shape):
        raise BadInput(f"{where} has {array.ndim} dimensions {list(array.shape)}, the model wants {wanted}")
    for axis, (length, expected) in enumerate(zip(array.shape, spec.shape, strict=True)):
        batch = axis == 0 and isinstance(expected, int) and expected > 0 and length % expected == 0
        if isinstance(expected, int) and length != expected and not batch:
            raise BadInput(f"{where} has the shape {list(array.shape)}, the model wants {wanted}")
    if 0 in array.shape and 0 not in spec.shape:
        raise BadInput(f"{where} is empty: its shape is {list(array.shape)}", "give at least one sample")


def _spelled(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if part is None else str(part) for part in shape) + "]"


def _check_symbols(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], source: str) -> None:
    """A symbol stands for one length wherever it occurs."""
    seen: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for length, expected in zip(arrays[spec.name].shape, spec.shape or (), strict=False):
            if not isinstance(expected, str) or not expected:
                continue
            first, name = seen.setdefault(expected, (length, spec.name))
            if first != length:
                raise BadInput(
                    f"{source}: the inputs {name!r} and {spec.name!r} disagree on the length {expected!r}: "
                    f"{first} and {length}"
                )


def _batching(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], source: str) -> Batching:
    counts: dict[str, int] = {}
    for spec in specs:
        first = spec.shape[0] if spec.shape else None
        if isinstance(first, int) and first > 0:
            counts[spec.name] = len(arrays[spec.name]) // first
    slices = max(counts.values(), default=1)
    if set(counts.values()) - {1, slices}:
        told = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise BadInput(f"{source}: the inputs hold different numbers of batches ({told})")
    samples = _samples(arrays, specs, counts, slices)
    if slices == 1:
        return Batching(samples)
    free = [spec.name for spec in specs if spec.name not in counts and arrays[spec.name].ndim > 0]
    riding = [name for name in free if len(arrays[name]) == samples]
    return Batching(samples, slices, [name for name, n in counts.items() if n == slices] + riding)


def _samples(
    arrays: Mapping[str, Array], specs: Sequence[TensorSpec], counts: Mapping[str, int], slices: int
) -> int:
    """The first axis of what is sliced, else of the first input whose batch is free, else of the first."""
    names = [spec.name for spec in specs if arrays[spec.name].ndim > 0]
    sliced = [name for name in names if slices > 1 and counts.get(name) == slices]
    chosen = sliced or [name for name in names if name not in counts] or names
    return len(arrays[chosen[0]]) if chosen else 1
