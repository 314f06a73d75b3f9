"""What the kernel counted while the child ran: out-of-memory kills, and CPU time withheld."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from envcheck.smoke.cgroups import cgroup_directories, read_text


@dataclass(frozen=True)
class Counters:
    """Totals so far; None where this machine does not tell."""

    oom_kills: int | None
    throttled: int | None


def read_counters(root: Path = Path("/")) -> Counters:
    """Read the counters of the cgroup that this process, and so its child, is in, and of the machine."""
    groups = cgroup_directories(root)
    memory = [_count(group / name, "oom_kill") for group in groups for name in _OOM_FILES]
    memory.append(_count(root / "proc/vmstat", "oom_kill"))
    quota = [_count(group / "cpu.stat", "nr_throttled") for group in groups]
    heat = [
        _number(path)
        for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_count"))
    ]
    return Counters(_total(memory), _total([*quota, *heat]))


def rose(before: int | None, after: int | None) -> bool | None:
    """Tell whether a counter rose; None when it could not be read both times."""
    return None if before is None or after is None else after > before


_OOM_FILES = ("memory.events", "memory.oom_control")  # cgroup v2, v1


def _count(path: Path, name: str) -> int | None:
    match = re.search(rf"^{name}\s+(\d+)\s*$", read_text(path), re.MULTILINE)
    return int(match.group(1)) if match else None


def _number(path: Path) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.isdecimal() else None


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
