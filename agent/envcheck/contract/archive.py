"""The one zip file that a set of members makes: stored, flat, without dates, comments or gaps.

Any zip tool opens it. Only this spelling is read: a general zip reader lets the local headers say one
thing and the directory another, and takes bytes before, between and behind the members.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Set
from typing import TypeVar

from envcheck.errors import BadInput

# A file in memory, or a view of one that is mapped.
Data = TypeVar("Data", bytes, memoryview)

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# version needed, flags, method, time, date, CRC-32, compressed size, size, length of name, of extra field
_FIELDS = struct.Struct("<HHHHHIIIHH")
# length of comment, disk, internal attributes, external attributes, offset of the local header
_PLACE = struct.Struct("<HHHII")
# this disk, disk of the directory, entries here, entries in all, size and offset of directory, comment
_TAIL = struct.Struct("<HHHHIIH")
_VERSION = 20
_MADE_BY_UNIX = struct.pack("<H", 3 << 8 | _VERSION)
_DATE = 0x21  # 1980-01-01, the first day that zip knows
_MODE = 0o600 << 16
_MAX_SIZE = 2**32 - 2**20
_HINT = "get the bundle again from its source"


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Return the zip of `members` in their order; raises BadInput above 4 GB, where zip changes its form."""
    if sum(map(len, members.values())) > _MAX_SIZE:
        raise BadInput("a bundle can't be larger than 4 GB", "keep the model's weights smaller")
    return b"".join(_pieces(members))


def read_archive(data: Data, allowed: Set[str], source: str) -> dict[str, Data]:
    """Return the members in order; raises BadInput naming `source` and the member at fault.

    Of a memoryview the members are views: nothing is copied. Call `check_archive` when their contents have
    been checked.
    """
    if not _holds(data, 0, _LOCAL):
        raise BadInput(f"{source} is not an envcheck bundle", "a bundle is made by: envcheck baseline create")
    members: dict[str, Data] = {}
    at = 0
    while _holds(data, at, _LOCAL):
        name, content, at = _member(data, at + len(_LOCAL), source)
        if name not in allowed:
            raise BadInput(f"{source}: a bundle has no member {name[:80]!r}", "do not run this file")
        if name in members:
            raise BadInput(f"{source}: the member {name} occurs twice", "do not run this file")
        members[name] = content
    if not _holds(data, at, _CENTRAL):
        raise BadInput(f"{source} is truncated or damaged behind the member {name}", _HINT)
    return members


def check_archive(data: bytes | memoryview, members: Mapping[str, bytes | memoryview], source: str) -> None:
    """Raise BadInput unless `data` is, byte by byte, the archive of `members` in this order.

    `members` are what `read_archive` made of `data`. A view of it is not compared with itself: its header
    stands where it ought to, so it does too.
    """
    at = 0
    for piece in _pieces(members):
        if not _is_view(piece, data) and not _holds(data, at, piece):
            raise BadInput(f"{source} is damaged: its zip structure is not that of a bundle", _HINT)
        at += len(piece)
    if at != len(data):
        raise BadInput(f"{source} has {len(data) - at} bytes too many at its end", _HINT)


def _is_view(piece: bytes | memoryview, data: bytes | memoryview) -> bool:
    return isinstance(piece, memoryview) and isinstance(data, memoryview) and piece.obj is data.obj


def _holds(data: bytes | memoryview, at: int, piece: bytes | memoryview) -> bool:
    """Tell whether `piece` stands at `at`, without a copy of either."""
    return memoryview(data)[at : at + len(piece)] == piece


def _member(data: Data, at: int, source: str) -> tuple[str, Data, int]:
    """Read the member whose header's fields begin at `at`: name, content, and where the next one begins."""
    begin = at + _FIELDS.size
    if begin > len(data):
        raise BadInput(f"{source} is truncated", _HINT)
    _, flags, method, _, _, _, packed, size, name_length, extra = _FIELDS.unpack_from(data, at)
    name = bytes(data[begin : begin + name_length]).decode("ascii", "replace")
    if method or flags or extra or packed != size:
        raise BadInput(
            f"{source}: the member {name[:80]!r} is compressed, encrypted or not as envcheck stores it",
            "give the file as `envcheck baseline create` wrote it",
        )
    end = begin + name_length + size
    if end > len(data):
        raise BadInput(f"{source} is truncated in the member {name[:80]!r}", _HINT)
    return name, data[begin + name_length : end], end


def _pieces(members: Mapping[str, bytes | memoryview]) -> Iterator[bytes | memoryview]:
    directory: list[bytes] = []
    at = 0
    for name, content in members.items():
        fields = _FIELDS.pack(
            _VERSION, 0, 0, 0, _DATE, zlib.crc32(content), len(content), len(content), len(name), 0
        )
        local = _LOCAL + fields + name.encode("ascii")
        directory.append(_CENTRAL + _MADE_BY_UNIX + fields + _PLACE.pack(0, 0, 0, _MODE, at))
        directory.append(name.encode("ascii"))
        yield local
        yield content
        at += len(local) + len(content)
    written = b"".join(directory)
    count = len(members)
    yield written
    yield _END + _TAIL.pack(0, 0, count, count, len(written), at, 0)
