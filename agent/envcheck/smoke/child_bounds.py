"""Bounds the smoke child: limits, processors, niceness, and whom the kernel kills first.

Lies beside child.py and is loaded by it: standard library only, Python 3.8+.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import Any, Dict, Sequence


def bound(limits: Dict[str, Any]) -> None:
    """Bound this process, before anything large is loaded; what the platform refuses is left out."""
    for name, value in limits.get("soft", {}).items():
        which = getattr(resource, "RLIMIT_" + name.upper())
        set_limit(which, value, resource.getrlimit(which)[1:])
    bounds = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
    )
    for which, value in bounds:
        # A bound of ours never widens the one that is there.
        set_limit(which, value, resource.getrlimit(which))
    if limits.get("affinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, limits["affinity"])
    with suppress(OSError):
        os.nice(limits["nice"])
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    die_with_parent()


def set_limit(which: int, value: int, ceilings: Sequence[int]) -> None:
    """Set a soft limit, no higher than `ceilings`; a negative one is none."""
    if value < 0:
        return
    value = min([value, *(each for each in ceilings if each != resource.RLIM_INFINITY)])
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the agent dies (PR_SET_PDEATHSIG)."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
