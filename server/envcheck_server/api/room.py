"""Memory for bodies: so much at a time, however many arrive at once."""

from __future__ import annotations

from envcheck_server.service.errors import Busy

# A body that is smaller is not counted: reports never wait for room that objects and questions take.
SMALL = 64 * 1024


class Room:
    """Counts the bytes of large bodies that are held. One that is alone may have any size."""

    def __init__(self, capacity: int, retry_after_s: int) -> None:
        self._capacity = capacity
        self._retry_after_s = retry_after_s
        self._held: dict[int, int] = {}

    def hold(self, who: int, size: int) -> None:
        """Let a request hold `size` bytes from now on; raises Busy when that is too much for all together."""
        if size <= SMALL:
            return
        others = sum(self._held.values()) - self._held.get(who, 0)
        if others and others + size > self._capacity:
            raise Busy(
                "the collector has no room for another large body at the moment",
                "try again later",
                self._retry_after_s,
            )
        self._held[who] = size

    def leave(self, who: int) -> None:
        """Forget what a request held."""
        self._held.pop(who, None)
