"""What the kernel counted while the child ran: out-of-memory kills, CPU time withheld, slowing by heat."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from envcheck.smoke.cgroups import cgroup_directories, read_text

_OOM_FILES = ("memory.events", "memory.oom_control")  # cgroup v2, v1
_PI_FILES = (
    "sys/bus/platform/drivers/raspberrypi-firmware/*firmware/get_throttled",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
)
# Under-voltage, frequency capped, throttled, soft temperature limit: now, and 16 higher since the boot.
_PI_NOW = 0b1111
_PI_SHIFT = 16


@dataclass(frozen=True)
class Counters:
    """Totals so far; None where this machine does not tell.

    `starved` counts the periods in which a quota withheld CPU time, `throttled` how often heat or power
    slowed the processor (Intel's packages and cores, the Jetsons' over-current). `pi_bits` is what a
    Raspberry Pi's firmware says.
    """

    oom_kills: int | None = None
    starved: int | None = None
    throttled: int | None = None
    pi_bits: int | None = None


def read_counters(root: Path = Path("/")) -> Counters:
    """Read the counters of the cgroup that this process, and so its child, is in, and of the machine."""
    groups = cgroup_directories(root)
    memory = [_count(group / name, "oom_kill") for group in groups for name in _OOM_FILES]
    memory.append(_count(root / "proc/vmstat", "oom_kill"))
    return Counters(
        oom_kills=_total(memory),
        starved=_total([_count(group / "cpu.stat", "nr_throttled") for group in groups]),
        throttled=_total([*_intel(root), *_jetson(root)]),
        pi_bits=_pi_bits(root),
    )


def rose(before: int | None, after: int | None) -> bool | None:
    """Tell whether a counter rose; None when it could not be read both times."""
    return None if before is None or after is None else after > before


def throttled_between(before: Counters, after: Counters) -> bool | None:
    """Tell whether heat or power slowed the processor meanwhile; None where no part of the machine tells."""
    counted = rose(before.throttled, after.throttled)
    if before.pi_bits is None or after.pi_bits is None:
        return counted
    since = (after.pi_bits & ~before.pi_bits) >> _PI_SHIFT
    return bool(counted or (before.pi_bits | after.pi_bits | since) & _PI_NOW)


def _intel(root: Path) -> list[int | None]:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    return [_number(path) for path in sorted(files)]


def _jetson(root: Path) -> list[int | None]:
    return [
        _number(path)
        for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name"))
        if read_text(name).strip() == "soctherm_oc"
        for path in sorted(name.parent.glob("oc*_event_cnt"))
    ]


def _pi_bits(root: Path) -> int | None:
    for pattern in _PI_FILES:
        for path in sorted(root.glob(pattern)):
            text = read_text(path).strip()
            if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
                return int(text, 16)
    return None


def _count(path: Path, name: str) -> int | None:
    match = re.search(rf"^{name}\s+(\d+)\s*$", read_text(path), re.MULTILINE)
    return int(match.group(1)) if match else None


def _number(path: Path) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.isdecimal() else None


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
