"""Whether a process still runs, by its number."""

from __future__ import annotations

import time
from pathlib import Path


def gone(pid: int) -> bool:
    """Wait for a process that is nobody's child here to be taken away."""
    for _ in range(200):
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Tell whether a process runs: one that has ended and waits to be asked for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
