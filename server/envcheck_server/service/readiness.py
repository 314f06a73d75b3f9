"""Whether the store can be written, asked at most once a second and once at a time: anybody may ask."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable

from envcheck.errors import EnvcheckError
from envcheck_server.service.errors import Busy
from envcheck_server.service.writer import Writer
from envcheck_server.store.interface import Store, StoreBusy, StoreFull

_FOR_S = 1.0
# Longer than a write may wait for another process, so that the store's own words are heard.
_PATIENCE_S = 15.0
# A small write may still find room where a batch of reports does not.
_LEAST_ROOM = 4 * 1024 * 1024

_LOG = logging.getLogger("envcheck_server")


class ReadinessService:
    """Remembers for a second that the store was well, and logs when it stops to be and when it is again."""

    def __init__(self, store: Store, writer: Writer, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._writer = writer
        self._timer = timer
        self._revision = store.revision()
        self._well_until = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._told = ""

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
            raise self._not_ready(
                StoreBusy("the collector's disk does not answer", "look at the disk, and at its log")
            ) from None

    async def _ask(self) -> None:
        try:
            await self._writer.run(self._look)
        except EnvcheckError as error:
            raise self._not_ready(error) from None
        if self._told:
            _LOG.warning("ready again")
            self._told = ""
        self._well_until = self._timer() + _FOR_S

    def _look(self) -> None:
        room = self._store.scratch
        if room is not None and shutil.disk_usage(room).free < _LEAST_ROOM:
            raise StoreFull("the collector's disk is full", f"make room in {room}")
        found = self._store.revision()
        if found != self._revision:
            raise Busy(
                f"the database's schema is {found or 'gone'} now; this collector works with {self._revision}",
                "stop it, and start the envcheck-server that fits; an older schema: envcheck-server migrate",
                60,
            )
        self._store.check()

    def _not_ready(self, error: EnvcheckError) -> EnvcheckError:
        """Log why, once for as long as it stays the same."""
        if error.message != self._told:
            _LOG.warning("not ready: %s", error.message)
            self._told = error.message
        return error
