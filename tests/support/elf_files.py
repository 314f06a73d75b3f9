"""ELF files made for tests."""

from __future__ import annotations

import struct


def make_elf(bits: int, order: str, *, needed: list[str], build_id: bytes) -> bytes:
    """Write the smallest library that needs something: header, three segments, strings, note, dynamic."""
    wide = bits == 64
    word = 8 if wide else 4

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little" if order == "little" else "big")

    head, entry = (64, 56) if wide else (52, 32)
    strings, places = b"\0", []
    for name in needed:
        places.append(len(strings))
        strings += name.encode() + b"\0"
    strings += b"\0" * (-len(strings) % 8)
    note = number(4, 4) + number(len(build_id), 4) + number(3, 4) + b"GNU\0" + build_id
    note += b"\0" * (-len(note) % 8)
    at_strings = head + 3 * entry
    at_note = at_strings + len(strings)
    at_dynamic = at_note + len(note)
    entries = [*((1, place) for place in places), (5, at_strings), (0, 0)]
    dynamic = b"".join(number(tag, word) + number(value, word) for tag, value in entries)
    total = at_dynamic + len(dynamic)

    def segment(kind: int, at: int, size: int) -> bytes:
        places = number(at, word) * 3 + number(size, word) * 2
        if wide:
            return number(kind, 4) + number(4, 4) + places + number(8, 8)
        return number(kind, 4) + places + number(4, 4) + number(8, 4)

    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "little" else 2, 1]) + b"\0" * 9
    header = ident + number(3, 2) + number(62, 2) + number(1, 4) + number(0, word) + number(head, word)
    header += number(0, word) + number(0, 4) + number(head, 2) + number(entry, 2) + number(3, 2) + b"\0" * 6
    table = segment(1, 0, total) + segment(4, at_note, len(note)) + segment(2, at_dynamic, len(dynamic))
    return header + table + strings + note + dynamic


def ld_cache(names: list[bytes], folder: bytes = b"/usr/lib/") -> bytes:
    """Write a cache as ldconfig does: header, entries, strings (offsets from the header's beginning)."""
    head = 48 + 24 * len(names)
    strings, entries = b"", b""
    for name in names:
        at = head + len(strings)
        entries += struct.pack("=iIIIQ", 0x303, at + len(folder), at, 0, 0)
        strings += folder + name + b"\0"
    magic = b"glibc-ld.so.cache1.1"
    return magic + struct.pack("=II", len(names), len(strings)) + b"\0" * 20 + entries + strings
