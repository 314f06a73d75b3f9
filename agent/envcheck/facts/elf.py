"""What an ELF file is linked against, read without any tool. Pure: bytes come from a function.

Only the parts that tell it are read, a few kilobytes of a library of any size. What is malformed or
truncated is left out; nothing is read twice without end, whatever the offsets say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import msgspec

# (offset, length) -> at most `length` bytes.
Read = Callable[[int, int], bytes]

_MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _NOTE = 1, 2, 4
_NEEDED, _STRINGS, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_BUILD_ID = 3
_MAX_SEGMENTS = 64
_MAX_DYNAMIC = 64 * 1024
_MAX_NOTES = 16 * 1024
_MAX_NEEDED = 256
_MAX_NAME = 4096


class Elf(msgspec.Struct, frozen=True, kw_only=True):
    """A shared library: what it needs (in its order), its own name, search path and build id (hex)."""

    needed: list[str] = []
    soname: str = ""
    search: list[str] = []
    build_id: str = ""


class _Segment(msgspec.Struct, frozen=True):
    kind: int
    offset: int
    address: int
    size: int


class _Form:
    """The layout of one class and byte order."""

    def __init__(self, order: str, *, wide: bool) -> None:
        word = "Q" if wide else "I"
        self.number = struct.Struct(f"{order}I")
        self.pair = struct.Struct(order + word * 2)
        self.note = struct.Struct(f"{order}III")
        # Program header: type, (flags,) offset, address, physical address, size in the file.
        self.segment = struct.Struct(f"{order}II{word}{word}{word}{word}" if wide else f"{order}IIIII")
        self.wide = wide

    def read_segment(self, data: bytes) -> _Segment:
        fields = self.segment.unpack_from(data)
        kind = fields[0]
        offset, address, _, size = fields[2:] if self.wide else fields[1:]
        return _Segment(kind, offset, address, size)


def parse_elf(read: Read) -> Elf | None:
    """Read an ELF file of either class and byte order; None when it is none."""
    head = read(0, 64)
    if len(head) < 52 or not head.startswith(_MAGIC) or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order, wide = "<" if head[5] == 1 else ">", head[4] == 2
    if wide and len(head) < 64:
        return None
    form = _Form(order, wide=wide)
    segments = list(_segments(read, head, form, order))
    wanted = _dynamic(read, segments, form)
    strings = next((value for tag, value in wanted if tag == _STRINGS), None)
    table = None if strings is None else _offset(segments, strings)

    def names(kind: int) -> list[str]:
        found = [value for tag, value in wanted if tag == kind][:_MAX_NEEDED]
        return [] if table is None else [name for value in found if (name := _name(read, table + value))]

    search = names(_RUNPATH) or names(_RPATH)
    return Elf(
        needed=names(_NEEDED),
        soname="".join(names(_SONAME)[:1]),
        search=[part for path in search for part in path.split(":") if part],
        build_id=_build_id(read, segments, form),
    )


def read_from(data: bytes) -> Read:
    """Return the function that reads from `data`."""
    return lambda at, length: data[at : at + length] if at >= 0 else b""


def _segments(read: Read, head: bytes, form: _Form, order: str) -> Iterator[_Segment]:
    table, size, count = (
        struct.unpack_from(f"{order}Q14xHH", head, 32)
        if form.wide
        else struct.unpack_from(f"{order}I10xHH", head, 28)
    )
    if size < form.segment.size:
        return
    data = read(table, min(count, _MAX_SEGMENTS) * size)
    for at in range(0, len(data) - form.segment.size + 1, size):
        yield form.read_segment(data[at:])


def _dynamic(read: Read, segments: list[_Segment], form: _Form) -> list[tuple[int, int]]:
    """Return the entries (tag, value) of the dynamic section."""
    place = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
    if place is None:
        return []
    data = read(place.offset, min(place.size, _MAX_DYNAMIC))
    entries = []
    for tag, value in form.pair.iter_unpack(data[: len(data) // form.pair.size * form.pair.size]):
        if tag == 0:
            break
        entries.append((tag, value))
    return entries


def _offset(segments: list[_Segment], address: int) -> int | None:
    """Return where in the file an address of memory lies."""
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    return None


def _name(read: Read, at: int) -> str:
    name, end, _ = read(at, _MAX_NAME).partition(b"\0")
    return name.decode("utf-8", "replace") if end else ""


def _build_id(read: Read, segments: list[_Segment], form: _Form) -> str:
    for segment in segments:
        if segment.kind == _NOTE:
            data = read(segment.offset, min(segment.size, _MAX_NOTES))
            for name, kind, content in _notes(data, form):
                if name == b"GNU\0" and kind == _BUILD_ID:
                    return content.hex()
    return ""


def _notes(data: bytes, form: _Form) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + form.note.size <= len(data):
        name_size, content_size, kind = form.note.unpack_from(data, at)
        name = at + form.note.size
        content = name + (name_size + 3) // 4 * 4
        yield data[name : name + name_size], kind, data[content : content + min(content_size, 64)]
        at = content + (content_size + 3) // 4 * 4
