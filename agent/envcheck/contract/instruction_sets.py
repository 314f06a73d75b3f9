"""Instruction sets by the bits that processors and kernels tell them in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EAX, EBX, ECX, EDX = range(4)
# Instruction sets by leaf, register and bit, as Intel's and AMD's manuals list them.
X86_BITS: dict[tuple[str, int], dict[str, int]] = {
    ("1", ECX): {
        "sse3": 0, "pclmul": 1, "ssse3": 9, "fma": 12, "cx16": 13, "sse4_1": 19, "sse4_2": 20, "movbe": 22,
        "popcnt": 23, "aes": 25, "xsave": 26, "avx": 28, "f16c": 29,
    },
    ("1", EDX): {"sse": 25, "sse2": 26},
    ("7", EBX): {
        "bmi1": 3, "avx2": 5, "bmi2": 8, "avx512f": 16, "avx512dq": 17, "avx512ifma": 21, "avx512cd": 28,
        "sha_ni": 29, "avx512bw": 30, "avx512vl": 31,
    },
    ("7", ECX): {
        "avx512vbmi": 1, "avx512_vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10, "avx512_vnni": 11,
        "avx512_bitalg": 12, "avx512_vpopcntdq": 14,
    },
    ("7", EDX): {"amx_bf16": 22, "avx512_fp16": 23, "amx_tile": 24, "amx_int8": 25},
    ("80000001", ECX): {"lahf": 0, "lzcnt": 5, "sse4a": 6, "fma4": 16},
    ("80000001", EDX): {"lm": 29},
    ("7.1", EAX): {"avx_vnni": 4, "avx512_bf16": 5, "amx_fp16": 21, "avx_ifma": 23},
    ("7.1", EDX): {"avx_vnni_int8": 4, "avx_ne_convert": 5},
}  # fmt: skip
# Bit by bit as in the kernel's uapi/asm/hwcap.h.
_ARM64 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc "
    "dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg gcs "
    "cmpbr fprcvt f8mm8 f8mm4 svef16mm sveeltperm sveaes2 svebfscale sve2p2 sme2p2 smesbitperm smeaes "
    "smesfexpa smestmop smesmop4"
)
_ARM64_2 = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm "
    "svebf16 i8mm bf16 dgh rng bti mte ecv afp rpres mte3 sme smei16i64 smef64f64 smei8i32 smef16f32 "
    "smeb16f32 smef32f32 smefa64 wfxt ebf16 sveebf16 cssc rprfm sve2p1 sme2 sme2p1 smei16i32 "
    "smebi32i32 smeb16b16 smef16f16 mops hbc sveb16b16 lrcpc3 lse128 fpmr lut faminmax f8cvt f8fma "
    "f8dp4 f8dp2 f8e4m3 f8e5m2"
)
_ARM32 = (
    "swp half thumb 26bit fastmult fpa vfp edsp java iwmmxt crunch thumbee neon vfpv3 vfpv3d16 tls "
    "vfpv4 idiva idivt vfpd32 lpae evtstrm fphp asimdhp asimddp asimdfhm asimdbf16 i8mm"
)
_ARM32_2 = "aes pmull sha1 sha2 crc32 sb ssbs"
# What says nothing about what a program may run.
ARM_NOISE = {"evtstrm", "cpuid"}


def x86_names(leaves: Mapping[str, Sequence[int]]) -> tuple[set[str], set[str]]:
    """Return the instruction sets in registers (EAX, EBX, ECX, EDX) by leaf, and all that were asked for."""
    told: set[str] = set()
    asked: set[str] = set()
    for (leaf, register), bits in X86_BITS.items():
        registers = leaves.get(leaf, [])
        if len(registers) == 4:
            asked |= bits.keys()
            told |= {name for name, bit in bits.items() if registers[register] >> bit & 1}
    return told, asked


def arm_names(architecture: str, bits: int, first: int, second: int) -> tuple[set[str], set[str]]:
    """Return the features in HWCAP and HWCAP2 of a process with words of so many bits, and all that it names.

    A 32-bit process on a 64-bit kernel is told other names than /proc/cpuinfo has: nothing to compare.
    """
    tables = {("aarch64", 64): (_ARM64, _ARM64_2), ("arm", 32): (_ARM32, _ARM32_2)}
    names, more = (table.split() for table in tables.get((architecture, bits), ("", "")))
    told = {name for bit, name in enumerate(names) if first >> bit & 1}
    told |= {name for bit, name in enumerate(more) if second >> bit & 1}
    return told, {*names, *more}
