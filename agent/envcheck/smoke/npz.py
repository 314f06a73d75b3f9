"""npz files, read without ever loading a pickle, and their headers without numpy."""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

MAX_BYTES = 1024**3
PLAIN = "save plain arrays of numbers, booleans or text (array.astype('U') for strings)"
_AGAIN = "write the file again: numpy.savez(FILE, NAME=array, ...)"
_MAX_HEADER = 64 * 1024
_MAGIC = b"\x93NUMPY"
_DESCR = re.compile(r"[<>|=]?([biufcU])(\d{1,9})")
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex", "U": "string"}
# What zipfile raises for bytes that are no zip, or a damaged or encrypted one.
_NO_ZIP = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError),
)


@dataclass(frozen=True)
class Header:
    """What an array is, without its elements; `dtype` as graphs name it (`float32`, `string`)."""

    dtype: str
    shape: tuple[int, ...]
    descr: str = ""
    fortran: bool = False


def read_headers(data: bytes, source: str, *, max_bytes: int = MAX_BYTES) -> dict[str, Header]:
    """Read what the arrays of an npz file are; `source` names the file in errors.

    Raises BadInput for what is no npz, is truncated, claims more than `max_bytes`, or holds
    Python objects: those would be a pickle, which is never loaded.
    """
    return {name: header for name, (header, _) in _read(data, source, max_bytes).items()}


def load_npz(data: bytes, source: str, *, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Read the arrays of an npz file by name; raises BadInput as `read_headers` does."""
    np = numpy()
    arrays = {}
    for name, (header, content) in _read(data, source, max_bytes).items():
        order = "F" if header.fortran else "C"
        arrays[name] = np.ndarray(header.shape, dtype=header.descr, buffer=content, order=order)
    return arrays


def _read(data: bytes, source: str, max_bytes: int) -> dict[str, tuple[Header, memoryview]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_claims(members, len(data), source, max_bytes)
            return {
                _array_name(info, source): _parse(archive.read(info), _where(info, source))
                for info in members
            }
    except _NO_ZIP:
        raise BadInput(f"{source} is not an npz file, or it is truncated", _AGAIN) from None


def _check_claims(members: list[zipfile.ZipInfo], size: int, source: str, max_bytes: int) -> None:
    claimed = sum(info.file_size for info in members)
    if claimed > max_bytes:
        raise BadInput(
            f"{source} unpacks to {claimed / 2**20:.0f} MB, more than the {max_bytes / 2**20:.0f} MB allowed",
            "use fewer samples",
        )
    for info in members:
        if info.compress_type == zipfile.ZIP_STORED and info.file_size > size:
            raise BadInput(f"{_where(info, source)} claims to be larger than the file", _AGAIN)


def _where(info: zipfile.ZipInfo, source: str) -> str:
    return f"{source}: the member {info.filename[:80]!r}"


def _array_name(info: zipfile.ZipInfo, source: str) -> str:
    if not info.filename.endswith(".npy"):
        raise BadInput(f"{_where(info, source)} is not an array", _AGAIN)
    return info.filename[: -len(".npy")]


def _parse(member: bytes, where: str) -> tuple[Header, memoryview]:
    """Split one .npy into its header and its elements' bytes; nothing is evaluated but literals."""
    if member[:6] != _MAGIC or len(member) < 12:
        raise BadInput(f"{where} is not a numpy array", _AGAIN)
    wide = member[6] > 1
    start = 12 if wide else 10
    length: int = struct.unpack_from("<I" if wide else "<H", member, 8)[0]
    header = _header(member[start : start + min(length, _MAX_HEADER)], where)
    content = memoryview(member)[start + length :]
    size = re.sub(r"\D", "", header.descr)
    width = int(size) * (4 if header.dtype == "string" else 1)
    if len(content) != math.prod(header.shape) * width:
        said = f"{list(header.shape)} of {header.dtype}"
        raise BadInput(f"{where} is truncated: its header says {said}", _AGAIN)
    return header, content


def _header(text: bytes, where: str) -> Header:
    try:
        fields = ast.literal_eval(text.decode("latin-1").strip())
        descr, shape, fortran = fields["descr"], fields["shape"], fields["fortran_order"]
        sound = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        sound = False
    if not sound:
        raise BadInput(f"{where} is not a numpy array", _AGAIN)
    if isinstance(descr, str) and "O" in descr:
        raise BadInput(f"{where} holds Python objects (a pickle), which is never loaded", PLAIN)
    found = _DESCR.fullmatch(descr) if isinstance(descr, str) else None
    if found is None:
        raise BadInput(f"{where} has the type {str(descr)[:80]}, which no model takes", PLAIN)
    kind, size = _KINDS[found.group(1)], int(found.group(2))
    dtype = kind if kind in ("bool", "string") else f"{kind}{8 * size}"
    return Header(dtype, shape, descr, bool(fortran))
