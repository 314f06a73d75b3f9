"""Section `memory`: how much there is, how much of it a process may use, how much is free."""

from __future__ import annotations

from envcheck.contract.fingerprint import Section
from envcheck.facts.auxv import own_auxv
from envcheck.facts.cgroup import memory_limit
from envcheck.facts.section import Facts, Scene, Unavailable, integer, pairs, section

_KIB = 1024
_MIB = 1024 * 1024
# Firmware and kernel reserve a little more or less at each boot; equal machines must tell equal sizes.
_STEP_MIB = 32
_LIMITS = {
    "Max address space": "as",
    "Max data size": "data",
    "Max stack size": "stack",
    "Max resident set": "rss",
    "Max locked memory": "memlock",
    "Max open files": "nofile",
    "Max processes": "nproc",
    "Max file size": "fsize",
    "Max cpu time": "cpu",
}


class MemoryFacts(Facts, frozen=True, kw_only=True):
    """Sizes in MiB, to the nearest 32. `limit_mib` is the control group's; absent when there is none.

    `zram` is whether there is compressed swap in memory, `zram_mib` how much it may hold; `page_bytes` the
    size of a page. `huge_pages` and `overcommit` are the kernel's policies (`madvise`; 0, 1 or 2).
    """

    total_mib: int
    swap_mib: int = 0
    zram: bool = False
    zram_mib: int | None = None
    zswap: bool | None = None
    limit_mib: int | None = None
    page_bytes: int | None = None
    huge_pages: str = ""
    overcommit: int | None = None


class MemoryDevice(Facts, frozen=True, kw_only=True):
    """The exact size, which may differ by a few pages from boot to boot.

    `limits` are the process's own soft ones, in bytes or numbers; what is unlimited is left out.
    """

    total_bytes: int
    limits: dict[str, int] = {}
    unreadable: list[str] = []


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
    swaps = scene.text("/proc/swaps") or ""
    auxv = own_auxv(scene.host)
    return section(
        MemoryFacts(
            total_mib=rounded_mib(sizes["MemTotal"]),
            swap_mib=rounded_mib(sizes.get("SwapTotal", 0)),
            zram="/dev/zram" in swaps,
            zram_mib=_zram(scene) if "/dev/zram" in swaps else None,
            zswap=_switch(scene.text("/sys/module/zswap/parameters/enabled")),
            limit_mib=None if limit is None else limit // _MIB,
            page_bytes=auxv.page_size if auxv else None,
            huge_pages=_chosen(scene.text("/sys/kernel/mm/transparent_hugepage/enabled") or ""),
            overcommit=scene.number("/proc/sys/vm/overcommit_memory"),
        ),
        MemoryDevice(
            total_bytes=sizes["MemTotal"],
            limits=parse_limits(scene.text("/proc/self/limits") or ""),
            unreadable=scene.unreadable,
        ),
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


def parse_limits(text: str) -> dict[str, int]:
    """Read /proc/PID/limits: the soft limits that a model can meet, by their names in setrlimit."""
    found = {}
    for line in text.splitlines():
        for title, name in _LIMITS.items():
            number = integer(line[len(title) :]) if line.startswith(title) else None
            if number is not None and number >= 0:
                found[name] = number
    return found


def rounded_mib(size: int) -> int:
    """Return `size` bytes in MiB, rounded to what two equal machines have in common."""
    return (size + _STEP_MIB * _MIB // 2) // (_STEP_MIB * _MIB) * _STEP_MIB


def _zram(scene: Scene) -> int:
    """Return how much all zram devices may hold."""
    names = [name for name in scene.names("/sys/block") if name.startswith("zram")]
    return rounded_mib(sum(scene.number(f"/sys/block/{name}/disksize") or 0 for name in names))


def _chosen(text: str) -> str:
    """Return the word that the kernel shows as chosen (`always [madvise] never`)."""
    return text.partition("[")[2].partition("]")[0]


def _switch(text: str | None) -> bool | None:
    return {"Y": True, "1": True, "N": False, "0": False}.get(text or "")


def _mib(size: int | None) -> int | None:
    return None if size is None else size // _MIB
