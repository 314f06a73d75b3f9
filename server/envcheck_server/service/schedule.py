"""When a device reports again: spread over the interval, each at a steady moment of its own."""

from __future__ import annotations

import hashlib

# The most that an answer may say.
_LONGEST_S = 7 * 86400
# A twentieth of the interval to either side: devices that share a moment do not meet there every time.
_JITTER = 20


def next_report(device: str, seq: int, now: int, interval_s: int) -> int:
    """Return after how many seconds a device comes again, on average after `interval_s`.

    Every device has one moment in each interval, which depends on its name alone: however many come back at
    once after an outage, the next time they come apart. Asked again about the same report it says the same.
    """
    wait = (_number(device) - now) % interval_s
    if 2 * wait < interval_s:
        wait += interval_s
    most = interval_s // _JITTER
    wait += _number(f"{device} {seq}") % (2 * most + 1) - most
    return min(max(1, wait), _LONGEST_S)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
