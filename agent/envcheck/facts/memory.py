"""Section `memory`: how much there is, how much of it a process may use, how much is free."""

from __future__ import annotations

from envcheck.contract.fingerprint import Section
from envcheck.facts.cgroup import memory_limit
from envcheck.facts.section import Facts, Scene, Unavailable, integer, pairs, section

_KIB = 1024
_MIB = 1024 * 1024
# Firmware and kernel reserve a little more or less at each boot; equal machines must tell equal sizes.
_STEP_MIB = 32


class MemoryFacts(Facts, frozen=True, kw_only=True):
    """Sizes in MiB, to the nearest 32. `limit_mib` is the control group's; absent when there is none."""

    total_mib: int
    swap_mib: int = 0
    zram: bool = False
    limit_mib: int | None = None


class MemoryDevice(Facts, frozen=True, kw_only=True):
    """The exact size, which may differ by a few pages from boot to boot."""

    total_bytes: int


class MemoryReadings(Facts, frozen=True, kw_only=True):
    """What is free now, in MiB."""

    available_mib: int | None = None
    swap_free_mib: int | None = None


def gather(scene: Scene) -> Section:
    """Read /proc/meminfo, /proc/swaps and the control group's limit."""
    sizes = parse_meminfo(scene.text("/proc/meminfo") or "")
    if "MemTotal" not in sizes:
        if scene.unreadable:
            raise Unavailable("unreadable", "/proc/meminfo may not be read")
        raise Unavailable("absent", "/proc/meminfo tells no size")
    limit = memory_limit(scene)
    return section(
        MemoryFacts(
            total_mib=rounded_mib(sizes["MemTotal"]),
            swap_mib=rounded_mib(sizes.get("SwapTotal", 0)),
            zram="/dev/zram" in (scene.text("/proc/swaps") or ""),
            limit_mib=None if limit is None else limit // _MIB,
        ),
        MemoryDevice(total_bytes=sizes["MemTotal"]),
        MemoryReadings(
            available_mib=_mib(sizes.get("MemAvailable")), swap_free_mib=_mib(sizes.get("SwapFree"))
        ),
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the sizes of /proc/meminfo in bytes."""
    found = {}
    for name, value in pairs(text).items():
        number = integer(value)
        if number is not None and number >= 0:
            found[name] = number * _KIB
    return found


def rounded_mib(size: int) -> int:
    """Return `size` bytes in MiB, rounded to what two equal machines have in common."""
    return (size + _STEP_MIB * _MIB // 2) // (_STEP_MIB * _MIB) * _STEP_MIB


def _mib(size: int | None) -> int | None:
    return None if size is None else size // _MIB
