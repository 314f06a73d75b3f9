"""One thread that writes, with a bounded queue: what waits meanwhile is committed together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from envcheck.errors import EnvcheckError
from envcheck_server.service.errors import Busy
from envcheck_server.store.values import NewReport, Received

T = TypeVar("T")

_LOG = logging.getLogger("envcheck_server")
# A transaction costs as much as dozens of the rows it holds: reports that keep coming share one.
APART_S = 0.02


@dataclass(slots=True)
class _Waiting:
    """Something to write: a report, or any other job; and whom to tell."""

    report: NewReport | None
    job: Callable[[], Any] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Serialises writes. Reports that arrive while a commit is under way share the next one.

    `receive` stores a batch of reports durably. An answer is given only after the commit. What comes one by
    one is written at once; after a commit of several the next waits until `apart_s` seconds have gone by or a
    whole `batch` is there. Beyond `capacity` waiting writes, Busy is raised at once.
    """

    def __init__(
        self,
        receive: Callable[[Sequence[NewReport]], list[Received]],
        *,
        capacity: int,
        batch: int,
        retry_after_s: int = 5,
        apart_s: float = APART_S,
    ) -> None:
        self._receive = receive
        self._retry_after_s = retry_after_s
        self._capacity = capacity
        self._batch = batch
        self._apart_s = apart_s
        self._queue: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        # How many wake the writer, and how many of those that wait are no reports.
        self._enough = 1
        self._jobs = 0
        # Until when the next commit waits for company.
        self._until = 0.0
        self._closing = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Tell whether writes still get anywhere."""
        return self._thread.is_alive()

    def __len__(self) -> int:
        """Return how many writes wait."""
        return len(self._queue)

    async def report(self, report: NewReport) -> Received:
        """Store a report together with those that wait."""
        received: Received = await self._put(report, None)
        return received

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job that writes, in its turn."""
        result: T = await self._put(None, job)
        return result

    def close(self) -> None:
        """Finish what waits, then stop. Nothing that was taken in is lost."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _put(self, report: NewReport | None, job: Callable[[], Any] | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._wake:
            if self._failed:
                raise _broken()
            if self._closing:
                raise Busy("the collector is stopping", "try again", self._retry_after_s)
            if len(self._queue) >= self._capacity:
                reason = "the collector has more to write than it can keep up with"
                raise Busy(reason, "try again later", self._retry_after_s)
            self._queue.append(_Waiting(report, job, loop, future))
            self._jobs += job is not None
            if job is not None or len(self._queue) >= self._enough:
                self._wake.notify()
        return future

    def _run(self) -> None:
        batch: list[_Waiting] = []
        try:
            while batch := self._take():
                self._write(batch)
        except BaseException:  # noqa: BLE001  (logged, and told to everybody who waits)
            _LOG.critical("the writer's thread has ended: nothing can be written any more", exc_info=True)
            self._fail(batch)

    def _write(self, batch: list[_Waiting]) -> None:
        reports = [waiting for waiting in batch if waiting.report is not None]
        if reports:
            self._store(reports)
            _tell(reports)
        for waiting in batch:
            if waiting.job is not None:
                _finish(waiting, waiting.job)
                _tell([waiting])

    def _fail(self, batch: list[_Waiting]) -> None:
        """Let nobody wait for a thread that is no more; the health check tells whoever starts collectors."""
        with self._wake:
            self._failed = True
            left = [*batch, *self._queue]
            self._queue.clear()
        for waiting in left:
            waiting.error = _broken()
        _tell(left)

    def _take(self) -> list[_Waiting]:
        with self._wake:
            self._await(1, None)
            self._await(self._batch, self._until)
            taken = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            self._until = time.monotonic() + self._apart_s if len(taken) > 1 else 0.0
            self._jobs -= sum(waiting.job is not None for waiting in taken)
            return taken

    def _await(self, enough: int, until: float | None) -> None:
        """Wait until as many reports are there, or a job, which waits for no company; or the time is up."""
        self._enough = enough
        while len(self._queue) < enough and not self._jobs and not self._closing:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            self._wake.wait(left)

    def _store(self, reports: list[_Waiting]) -> None:
        try:
            received = self._receive([waiting.report for waiting in reports if waiting.report is not None])
            answered = list(zip(reports, received, strict=True))
        except Exception as error:  # noqa: BLE001  (handed to every request that waits for this batch)
            for waiting in reports:
                waiting.error = error
            return
        for waiting, one in answered:
            waiting.result = one


def _broken() -> Busy:
    return Busy("the collector can write no more", "whoever runs it: restart it, its log says why", 60)


def _finish(waiting: _Waiting, job: Callable[[], Any]) -> None:
    try:
        waiting.result = job()
    except EnvcheckError as error:
        # An answer, not a fault: who wrote it does not matter, and its frames hold on to whole bodies.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        waiting.error = error
    except Exception as error:  # noqa: BLE001  (handed to the request that waits for it)
        waiting.error = error


def _tell(batch: list[_Waiting]) -> None:
    """Wake the requests, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for waiting in batch:
        by_loop.setdefault(waiting.loop, []).append(waiting)
    for loop, these in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there
            loop.call_soon_threadsafe(_resolve, these)


def _resolve(these: list[_Waiting]) -> None:
    for waiting in these:
        if waiting.future.done():
            continue
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(waiting.result)
