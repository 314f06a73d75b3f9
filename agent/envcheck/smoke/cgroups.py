"""The control groups that this process, and so its child, is in: how many CPUs they leave it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path


def cgroup_directories(root: Path = Path("/")) -> list[Path]:
    """Return the directories of this process's memory and cpu groups; in a container, the top ones."""
    base = root / "sys/fs/cgroup"
    found = []
    for line in read_text(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers in ("", "memory") or "cpu" in controllers.split(","):
            top = base / controllers
            own = top / path.lstrip("/")
            found.append(own if own.is_dir() else top)
    return found


def usable_cpus(root: Path = Path("/"), affinity: Sequence[int] = ()) -> int:
    """Return how many threads of inference make sense: the affinity's CPUs, or fewer by quota.

    `affinity` are the CPUs that the serving unit is bound to, none when it is not.
    """
    allowed = os.sched_getaffinity(0)
    allowed = allowed & set(affinity) or allowed
    quotas = [quota for group in cgroup_directories(root) if (quota := _quota(group)) is not None]
    return max(1, min([len(allowed), *(math.ceil(quota) for quota in quotas)]))


def read_text(path: Path) -> str:
    """Return a small file's text, empty when it is not there or may not be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _quota(group: Path) -> float | None:
    """Return the CPU time that a group may use in each second; None without a limit."""
    limit, _, period = read_text(group / "cpu.max").strip().partition(" ")
    if not limit:
        limit = read_text(group / "cpu.cfs_quota_us").strip()
        period = read_text(group / "cpu.cfs_period_us").strip()
    if not limit.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(limit) / int(period)
