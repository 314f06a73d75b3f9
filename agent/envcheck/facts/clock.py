"""Whether the kernel takes its clock for synchronised. A call of the C library, which only reads."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5
# Larger than struct timex of every architecture; `modes`, its first field, stays 0: nothing is set.
_TIMEX_BYTES = 1024


def kernel_clock_synchronised() -> bool | None:
    """Ask adjtimex; None where it may not be asked."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR
