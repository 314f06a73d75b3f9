"""What the kernel counted while the child ran: out-of-memory kills, and CPU time withheld."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Counters:
    """Totals so far; None where this machine does not tell."""

    oom_kills: int | None
    throttled: int | None


def read_counters(root: Path = Path("/")) -> Counters:
    """Read the counters of the cgroup that this process, and so its child, is in, and of the machine."""
    groups = _cgroup_directories(root)
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


def _cgroup_directories(root: Path) -> list[Path]:
    """Return the directories of this process's cgroups; in a container they are mounted at the top."""
    base = root / "sys/fs/cgroup"
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in ("", "memory") or "cpu" in controllers.split(","):
            top = base / controllers
            found.append(top / path.lstrip("/") if (top / path.lstrip("/")).is_dir() else top)
    return found


def _count(path: Path, name: str) -> int | None:
    match = re.search(rf"^{name}\s+(\d+)\s*$", _text(path), re.MULTILINE)
    return int(match.group(1)) if match else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
