"""The auxiliary vector: what the kernel tells every process about its processor."""

from __future__ import annotations

import os
import struct
import sys

from envcheck.contract.instruction_sets import arm_names
from envcheck.facts.host import Host

# This process's own, also where /proc/self stands for another's.
_FILE = "/proc/thread-self/auxv"
_PAGE_SIZE, _PLATFORM, _HWCAP, _HWCAP2 = 6, 15, 16, 26
# The kernel's keys are small numbers; a word of the other size read as a key is not.
_LAST_KEY = 255

# CPUID leaf 1, EDX: what of it tells numbers or speed.
_X86 = {"sse": 25, "sse2": 26}


class Auxv:
    """One auxiliary vector: its entries by key, and the size of its words (a process's) in bits."""

    def __init__(self, entries: dict[int, int], bits: int) -> None:
        self.entries = entries
        self.bits = bits

    @property
    def page_size(self) -> int | None:
        """The size of a page of memory in bytes."""
        return self.entries.get(_PAGE_SIZE)

    def named(self, architecture: str) -> tuple[set[str], set[str]]:
        """Return the features that the vector names, and all that it could name, as /proc/cpuinfo does."""
        if _HWCAP not in self.entries:
            return set(), set()
        first, second = self.entries[_HWCAP], self.entries.get(_HWCAP2, 0)
        if architecture in ("x86_64", "x86"):
            return {name for name, bit in _X86.items() if first >> bit & 1}, set(_X86)
        return arm_names(architecture, self.bits, first, second)


def own_auxv(host: Host) -> Auxv | None:
    """Read this process's vector; None where there is none.

    A process with more rights than its user (a service with capabilities) may not read its own file: then
    the C library tells the same.
    """
    try:
        return parse_auxv(host.read(_FILE))
    except OSError:
        return parse_auxv(_asked()) if host.live else None


def platform_name() -> bytes:
    """Ask the C library for the kernel's name of this kind of machine (AT_PLATFORM), b"" for none."""
    import ctypes

    try:
        ask = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError):
        return b""
    ask.restype, ask.argtypes = ctypes.c_char_p, (ctypes.c_ulong,)
    return ask(_PLATFORM) or b""


def _asked() -> bytes:
    import ctypes

    try:
        ask = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError):
        return b""
    ask.restype, ask.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
    # On x86 glibc puts words of its own in the place of the kernel's.
    told = (_PAGE_SIZE,) if os.uname().machine in ("x86_64", "i686") else (_PAGE_SIZE, _HWCAP, _HWCAP2)
    return make_auxv({key: ask(key) for key in told}, 64 if sys.maxsize > 2**32 else 32)


def parse_auxv(data: bytes) -> Auxv | None:
    """Read /proc/self/auxv of a 64-bit or 32-bit process; None when it is neither."""
    for code, bits in (("<QQ", 64), ("<II", 32)):
        pair = struct.Struct(code)
        whole = data[: len(data) // pair.size * pair.size]
        entries: dict[int, int] = {}
        for key, value in pair.iter_unpack(whole):
            if key == 0 or key > _LAST_KEY:
                break
            entries.setdefault(key, value)
        page = entries.get(_PAGE_SIZE, 0)
        if page >= 4096 and page & (page - 1) == 0:
            return Auxv(entries, bits)
    return None


def make_auxv(entries: dict[int, int], bits: int = 64) -> bytes:
    """Write an auxiliary vector as the kernel does."""
    pair = struct.Struct("<QQ" if bits == 64 else "<II")
    return b"".join(pair.pack(key, value) for key, value in [*entries.items(), (0, 0)])
