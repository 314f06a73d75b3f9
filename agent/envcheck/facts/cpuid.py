"""What CPUID says to a process on x86, whatever /proc/cpuinfo shows.

glibc (2.33 and later) ran the instruction when this process started and tells the registers: nothing is
executed here. Elsewhere py-cpuinfo runs it, which maps executable memory: see `py_cpuinfo.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envcheck.facts.host import Host

# The places of these leaves in glibc's table (sys/platform/x86.h).
_GLIBC_INDEX = {"1": 0, "7": 1, "80000001": 2, "7.1": 6}
_EAX, _EBX, _ECX, _EDX = range(4)
# Instruction sets by leaf, register and bit, as Intel's and AMD's manuals list them.
_BITS: dict[tuple[str, int], dict[str, int]] = {
    ("1", _ECX): {
        "sse3": 0, "pclmul": 1, "ssse3": 9, "fma": 12, "cx16": 13, "sse4_1": 19, "sse4_2": 20, "movbe": 22,
        "popcnt": 23, "aes": 25, "xsave": 26, "avx": 28, "f16c": 29,
    },
    ("1", _EDX): {"sse": 25, "sse2": 26},
    ("7", _EBX): {
        "bmi1": 3, "avx2": 5, "bmi2": 8, "avx512f": 16, "avx512dq": 17, "avx512ifma": 21, "avx512cd": 28,
        "sha_ni": 29, "avx512bw": 30, "avx512vl": 31,
    },
    ("7", _ECX): {
        "avx512vbmi": 1, "avx512_vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10, "avx512_vnni": 11,
        "avx512_bitalg": 12, "avx512_vpopcntdq": 14,
    },
    ("7", _EDX): {"amx_bf16": 22, "avx512_fp16": 23, "amx_tile": 24, "amx_int8": 25},
    ("80000001", _ECX): {"lahf": 0, "lzcnt": 5, "sse4a": 6, "fma4": 16},
    ("80000001", _EDX): {"lm": 29},
    ("7.1", _EAX): {"avx_vnni": 4, "avx512_bf16": 5, "amx_fp16": 21, "avx_ifma": 23},
    ("7.1", _EDX): {"avx_vnni_int8": 4, "avx_ne_convert": 5},
}  # fmt: skip
# Only its leaves 1 and 7 are used.
_PY_CPUINFO_TELLS = {
    name for (leaf, register), bits in _BITS.items() if leaf in ("1", "7") for name in bits
    if (leaf, register) != ("7", _EDX)
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
        told: set[str] = set()
        asked: set[str] = set()
        for (leaf, register), bits in _BITS.items():
            registers = self.leaves.get(leaf, [])
            if len(registers) == 4:
                asked |= bits.keys()
                told |= {name for name, bit in bits.items() if registers[register] >> bit & 1}
        return told, asked


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
    return len(registers) == 4 and bool(registers[_EDX] >> 26 & 1)
