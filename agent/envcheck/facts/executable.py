"""What an executable file tells of itself: for which machine it is built, and what has to load it. Pure."""

from __future__ import annotations

import struct

import msgspec

HEADER_BYTES = 4096
_MAGIC = b"\x7fELF"
_INTERPRETER = 3
# e_machine as in the ELF specification -> what the kernel calls the machine.
_MACHINES = {
    3: "i686", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "armv7l", 62: "x86_64",
    183: "aarch64", 243: "riscv64", 258: "loongarch64",
}  # fmt: skip


class Executable(msgspec.Struct, frozen=True, kw_only=True):
    """The head of an ELF file. `loader` is the program that must be there for it to start, "" when none."""

    machine: str
    bits: int
    byteorder: str
    loader: str = ""


def parse_executable(head: bytes) -> Executable | None:
    """Read the first bytes of a file (HEADER_BYTES are enough); None when it is no ELF file."""
    if len(head) < 64 or not head.startswith(_MAGIC) or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order = "<" if head[5] == 1 else ">"
    wide = head[4] == 2
    number = struct.unpack_from(f"{order}H", head, 18)[0]
    machine = _MACHINES.get(number, f"machine {number}")
    if machine == "ppc64" and order == "<":
        machine = "ppc64le"
    return Executable(
        machine=machine,
        bits=64 if wide else 32,
        byteorder="little" if order == "<" else "big",
        loader=_loader(head, order, wide=wide),
    )


def _loader(head: bytes, order: str, *, wide: bool) -> str:
    """Return what PT_INTERP names, "" when it lies beyond the head or there is none."""
    table, size, count = struct.unpack_from(
        f"{order}Q14xHH" if wide else f"{order}I10xHH", head, 32 if wide else 28
    )
    for index in range(min(count, 64)):
        at = table + index * size
        if size < (56 if wide else 32) or at + size > len(head):
            return ""
        kind = struct.unpack_from(f"{order}I", head, at)[0]
        if kind != _INTERPRETER:
            continue
        form, first, length = ("Q", at + 8, at + 32) if wide else ("I", at + 4, at + 16)
        offset = struct.unpack_from(order + form, head, first)[0]
        end = offset + struct.unpack_from(order + form, head, length)[0]
        return head[offset:end].partition(b"\0")[0].decode("utf-8", "replace") if end <= len(head) else ""
    return ""
