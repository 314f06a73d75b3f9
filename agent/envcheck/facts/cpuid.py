"""What CPUID says to a process on x86, whatever /proc/cpuinfo shows.

glibc (2.33 and later) ran the instruction when this process started and tells the registers: nothing is
executed here. Elsewhere py-cpuinfo runs it, which maps executable memory: see `py_cpuinfo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envcheck.contract.instruction_sets import EDX, X86_BITS, x86_names
from envcheck.facts.host import Host

# The places of these leaves in glibc's table (sys/platform/x86.h).
_GLIBC_INDEX = {"1": 0, "7": 1, "80000001": 2, "7.1": 6}
# Only its leaves 1 and 7 are used.
_PY_CPUINFO_TELLS = {
    name for (leaf, register), bits in X86_BITS.items() if leaf in ("1", "7") for name in bits
    if (leaf, register) != ("7", EDX)
}  # fmt: skip


class Cpuid(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: registers (EAX, EBX, ECX, EDX) by leaf, or py-cpuinfo's names of flags."""

    leaves: dict[str, list[int]] = {}
    flags: list[str] = []

    def named(self) -> tuple[set[str], set[str]]:
        """Return the instruction sets that CPUID says the processor has, and all that were asked about."""
        if not self.leaves:
            from envcheck.facts.isa import x86_isa
            from envcheck.facts.py_cpuinfo import named

            known = set(x86_isa(named(self.flags))) & _PY_CPUINFO_TELLS
            return known, _PY_CPUINFO_TELLS if known else set()
        return x86_names(self.leaves)


def parse_cpuid(data: bytes) -> Cpuid:
    """Read an answer; one that can't be read tells nothing."""
    try:
        return msgspec.json.decode(data, type=Cpuid)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Cpuid()


def ask_cpuid(host: Host, boot_id: str) -> bytes:
    """Ask the running machine, an x86 one; b"" when nobody tells."""
    leaves = glibc_leaves()
    if leaves:
        return msgspec.json.encode(Cpuid(leaves=leaves))
    from envcheck.facts.py_cpuinfo import ask_flags

    return ask_flags(host, boot_id)


def glibc_leaves() -> dict[str, list[int]]:
    """Return the registers that glibc read when this process started, {} where it tells none."""
    import ctypes

    class Feature(ctypes.Structure):
        _fields_ = (("cpuid", ctypes.c_uint32 * 4), ("active", ctypes.c_uint32 * 4))

    try:
        ask = ctypes.CDLL(None)["__x86_get_cpuid_feature_leaf"]
    except (AttributeError, OSError):
        return {}
    ask.restype, ask.argtypes = ctypes.POINTER(Feature), (ctypes.c_uint32,)
    found = {leaf: ask(index) for leaf, index in _GLIBC_INDEX.items()}
    leaves = {leaf: list(told.contents.cpuid) for leaf, told in found.items() if told}
    # Every x86-64 processor has SSE2: a first leaf without it was never filled.
    return leaves if _is_filled(leaves.get("1", [])) else {}


def _is_filled(registers: Sequence[int]) -> bool:
    return len(registers) == 4 and bool(registers[EDX] >> 26 & 1)
