"""Who was asked for an object that is missing, so that a whole fleet is not asked for the same bytes.

Kept in the memory of one process: what is lost with it is only who was asked, and the next report that needs
the object asks again. Several collectors each ask one device.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from envcheck_server.service.times import Clock

_MOST = 100_000


@dataclass(slots=True)
class _Lease:
    """One device's turn to deliver an object; `wanted` says that another one would have."""

    holder: str
    until: int
    wanted: bool = False


class Leases:
    """One device at a time is asked for an object, and has `hold_s` seconds to deliver it.

    That it delivered ends no lease: a report that was stored just before may be answered just after.
    """

    def __init__(self, clock: Clock, hold_s: int) -> None:
        self._clock = clock
        self._hold_s = hold_s
        # In the order in which they were given, which is that of their ends.
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._lock = threading.Lock()

    def grant(self, device: str, missing: Sequence[str]) -> list[str]:
        """Return those of the `missing` objects that this device is asked for."""
        if not missing:
            return []
        now = self._clock()
        with self._lock:
            return [name for name in missing if self._grants(device, name, now)]

    def _grants(self, device: str, name: str, now: int) -> bool:
        lease = self._leases.get(name)
        # A clock that was set back must not hold an object up for longer than it may take.
        if lease is not None and now < lease.until <= now + self._hold_s:
            lease.wanted = lease.wanted or lease.holder != device
            # Asked again it goes on where it broke off, in the time that it has.
            return lease.holder == device
        if lease is not None and lease.holder == device and lease.wanted and now < lease.until + self._hold_s:
            # It had its turn: one that never delivers must not be asked whenever it comes first.
            return False
        self._leases[name] = _Lease(device, now + self._hold_s)
        self._leases.move_to_end(name)
        while len(self._leases) > _MOST:
            self._leases.popitem(last=False)
        return True
