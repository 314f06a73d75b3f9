"""Whether it is time to report: `report --if-due` is asked every minute, so this must cost next to nothing.

The standard library's smallest parts only. The file `due` in the state directory is a hint: without it, or
with one that makes no sense, it is time.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Half of the minute after which it is asked again: the nearer of two moments is taken.
_EARLY_S = 30
_LATEST_S = 11 * 86400
_NAME = "due"


def is_plainly_not_due(arguments: Sequence[str]) -> bool:
    """Tell whether `arguments` are those of the timer, and it is not time; False: click is to read them."""
    directory = os.environ.get("STATE_DIRECTORY", "")
    return list(arguments) == ["report", "--if-due"] and bool(directory) and not is_due(directory)


def is_due(directory: str) -> bool:
    """Tell whether the time that was set has come."""
    try:
        with open(os.path.join(directory, _NAME), encoding="ascii") as file:  # noqa: PTH123, PTH118  (quick)
            boot, *numbers = file.read(200).split()
        since_boot, wall, written = (int(number) for number in numbers[:3])
    except (OSError, ValueError):
        return True
    if boot == _boot():
        # Counted since the start of the machine: its clock may be set meanwhile.
        left = since_boot - _since_boot()
    else:
        left = wall - int(time.time()) if written <= time.time() else 0
    # Nobody sets it as late as that: the file is damaged.
    return not _EARLY_S < left <= _LATEST_S


def set_due(directory: str, wait_s: int, failures: int = 0) -> None:
    """Let it be time again in `wait_s` seconds; raises OSError.

    Not synced to the disk: what a power cut takes of it is only a report that comes early.
    """
    now = int(time.time())
    line = f"{_boot()} {_since_boot() + wait_s} {now + wait_s} {now} {failures}\n"
    path = os.path.join(directory, _NAME)  # noqa: PTH118
    with open(f"{path}.new", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(line)
    os.replace(f"{path}.new", path)  # noqa: PTH105


def failures(directory: str) -> int:
    """Return how many times in a row it has not worked."""
    try:
        with open(os.path.join(directory, _NAME), encoding="ascii") as file:  # noqa: PTH123, PTH118
            return int(file.read(200).split()[4])
    except (OSError, ValueError, IndexError):
        return 0


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read(64).strip() or "unknown"
    except (OSError, ValueError):
        return "unknown"


def _since_boot() -> int:
    return int(time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)))
