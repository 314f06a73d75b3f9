"""Whether the store can be written, asked at most once a second and once at a time: anybody may ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from envcheck_server.service.errors import Busy
from envcheck_server.service.writer import Writer
from envcheck_server.store.interface import Store, StoreBusy

_FOR_S = 1.0
# Longer than a write may wait for another process, so that the store's own words are heard.
_PATIENCE_S = 15.0


class ReadinessService:
    """Remembers for a second that the store was well."""

    def __init__(self, store: Store, writer: Writer, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._writer = writer
        self._timer = timer
        self._well_until = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def check_life(self) -> None:
        """Raise Busy when nothing can be written any more until the collector is started anew."""
        if not self._writer.alive:
            raise Busy("the collector can write no more", "restart it; its log says why")

    async def check(self) -> None:
        """Raise StoreBusy, StoreFull or Busy unless the store can be written, or could a moment ago."""
        if self._timer() < self._well_until:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.wait_for(asyncio.shield(self._asking), _PATIENCE_S)
        except TimeoutError:
            raise StoreBusy(
                "the collector's disk does not answer", "look at the disk, and at its log"
            ) from None

    async def _ask(self) -> None:
        await self._writer.run(self._store.check)
        self._well_until = self._timer() + _FOR_S
