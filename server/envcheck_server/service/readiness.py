"""Whether the store can be written, asked at most once a second: anybody may ask."""

from __future__ import annotations

import time
from collections.abc import Callable

from envcheck_server.store.interface import Store

_FOR_S = 1.0


class ReadinessService:
    """Remembers for a second that the store was well."""

    def __init__(self, store: Store, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._timer = timer
        self._well_until = float("-inf")

    def check(self) -> None:
        """Raise StoreBusy or StoreFull unless the store can be written, or could a moment ago."""
        if self._timer() >= self._well_until:
            self._store.check()
            self._well_until = self._timer() + _FOR_S
