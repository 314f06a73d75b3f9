"""Instruction sets by one name each, and the level they make up. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from envcheck.contract.instruction_sets import ARM_NOISE

# What the kernel calls otherwise than everybody else.
_X86_NAMES = {"pni": "sse3", "abm": "lzcnt", "lahf_lm": "lahf", "pclmulqdq": "pclmul"}
# What changes numbers or speed; the rest of /proc/cpuinfo's flags is about the kernel's own business.
_X86_KEPT = {
    "sse", "sse2", "sse3", "ssse3", "sse4_1", "sse4_2", "sse4a", "avx", "avx2", "fma", "fma4", "f16c", "bmi1",
    "bmi2", "lzcnt", "movbe", "popcnt", "cx16", "lahf", "xsave", "aes", "vaes", "pclmul", "vpclmulqdq",
    "sha_ni", "gfni", "avx_vnni", "avx_vnni_int8", "avx_vnni_int16", "avx_ifma",
    "avx_ne_convert", "avx10_1", "avx10_2",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "amx_complex", "lm",
}  # fmt: skip
_X86_LEVELS = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}),
    ("x86-64-v2", {"cx16", "lahf", "popcnt", "sse3", "sse4_1", "sse4_2", "ssse3"}),
    ("x86-64-v1", {"lm", "sse", "sse2"}),
)
_ARM_LEVELS = (
    ("armv9.0", {"sve2", "i8mm", "bf16"}),
    ("armv8.6", {"i8mm", "bf16"}),
    ("armv8.5", {"frint", "sb"}),
    ("armv8.4", {"dit", "uscat", "asimddp"}),
    ("armv8.3", {"jscvt", "fcma", "lrcpc"}),
    ("armv8.2", {"dcpop"}),
    ("armv8.1", {"atomics", "asimdrdm"}),
    ("armv8.0", {"asimd", "fp"}),
)
# The parts that edge devices are made of; a part without a name keeps its number.
_ARM_PARTS = {
    "0x41": {
        "0xb76": "ARM1176", "0xc07": "Cortex-A7", "0xc08": "Cortex-A8", "0xc09": "Cortex-A9",
        "0xc0f": "Cortex-A15",
        "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
        "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
        "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78",
        "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710",
        "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2", "0xd83": "Neoverse-V3AE", "0xd84": "Neoverse-V3",
    },
    "0x4e": {"0x003": "Denver-2", "0x004": "Carmel"},
}  # fmt: skip
_ARM_VENDORS = {
    "0x41": "ARM",
    "0x4e": "NVIDIA",
    "0x51": "Qualcomm",
    "0xc0": "Ampere",
    "0x61": "Apple",
    "0x48": "HiSilicon",
}


def x86_isa(flags: Iterable[str]) -> list[str]:
    """Return the sorted instruction sets among the kernel's flags."""
    named = {_X86_NAMES.get(flag, flag) for flag in flags}
    return sorted(flag for flag in named if flag in _X86_KEPT or flag.startswith("avx512"))


def arm_isa(features: Iterable[str]) -> list[str]:
    """Return the sorted features."""
    return sorted(set(features) - ARM_NOISE)


def x86_level(isa: Iterable[str]) -> str:
    """Return the highest level of the x86-64 psABI of which nothing is missing, "" below the first."""
    return _highest(set(isa), _X86_LEVELS)


def arm_level(isa: Iterable[str]) -> str:
    """Return the highest Armv8 or Armv9 level whose telling features are all there, "" for 32 bits."""
    return _highest(set(isa), _ARM_LEVELS)


def arm_part(implementer: str, part: str) -> str:
    """Name a core by its implementer and part numbers."""
    return _ARM_PARTS.get(implementer, {}).get(part, part)


def arm_vendor(implementer: str) -> str:
    """Name an implementer."""
    return _ARM_VENDORS.get(implementer, implementer)


def _highest(isa: set[str], levels: tuple[tuple[str, set[str]], ...]) -> str:
    """Levels build on each other: one counts only when all below it are met."""
    reached = ""
    for name, needed in reversed(levels):
        if not needed <= isa:
            break
        reached = name
    return reached
