"""The writer: one commit for what waits, an answer only after it, and nothing lost when it stops."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from envcheck_server.service.errors import Busy
from envcheck_server.service.writer import Writer


class Batches:
    """Keeps the batches that it is given; may be held up, or fail."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Event()
        self.go.set()
        self.fault: Exception | None = None

    def receive(self, batch: Any) -> Any:
        self.go.wait(20)
        self.batches.append(list(batch))
        if self.fault is not None:
            raise self.fault
        return [("received", one) for one in batch]


async def several(store: Batches, writer: Writer) -> None:
    """Let one report be written, and then two together."""
    store.go.clear()
    first = asyncio.ensure_future(writer.report("a"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await settled(writer, 0)
    rest = [asyncio.ensure_future(writer.report(name)) for name in ("b", "c")]  # type: ignore[arg-type]
    await settled(writer, 2)
    store.go.set()
    await asyncio.gather(first, *rest)
    assert [len(batch) for batch in store.batches] == [1, 2]
    store.batches.clear()


async def settled(writer: Writer, waiting: int) -> None:
    while len(writer) != waiting:
        await asyncio.sleep(0.001)


def test_what_waits_meanwhile_shares_a_commit() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=8)

    async def run() -> list[Any]:
        store.go.clear()
        first = asyncio.ensure_future(writer.report("r0"))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await settled(writer, 0)
        rest = [asyncio.ensure_future(writer.report(f"r{number}")) for number in range(1, 11)]  # type: ignore[arg-type]
        await settled(writer, 10)
        assert not first.done()
        store.go.set()
        return await asyncio.gather(first, *rest)

    answers = asyncio.run(run())
    writer.close()
    assert answers == [("received", f"r{number}") for number in range(11)]
    assert [len(batch) for batch in store.batches] == [1, 8, 2]


def test_beyond_its_capacity_it_is_busy() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=2, batch=8, retry_after_s=9)

    async def run() -> None:
        store.go.clear()
        first = asyncio.ensure_future(writer.report("r0"))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await settled(writer, 0)
        rest = [asyncio.ensure_future(writer.report(f"r{number}")) for number in (1, 2)]  # type: ignore[arg-type]
        await settled(writer, 2)
        with pytest.raises(Busy) as busy:
            await writer.report("one too many")  # type: ignore[arg-type]
        assert busy.value.retry_after_s == 9
        store.go.set()
        await asyncio.gather(first, *rest)

    asyncio.run(run())
    writer.close()
    assert [one for batch in store.batches for one in batch] == ["r0", "r1", "r2"]


def test_a_fault_reaches_those_who_wait_and_nobody_else() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=8)

    def broken() -> None:
        raise LookupError("this job")

    async def run() -> None:
        store.fault = OSError("the disk")
        with pytest.raises(OSError, match="the disk"):
            await writer.report("r0")  # type: ignore[arg-type]
        store.fault = None
        with pytest.raises(LookupError, match="this job"):
            await writer.run(broken)
        assert await writer.run(lambda: 7) == 7
        assert await writer.report("r1") == ("received", "r1")  # type: ignore[arg-type,comparison-overlap]

    asyncio.run(run())
    writer.close()


def test_closing_finishes_what_was_taken_in() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=2)

    async def run() -> list[Any]:
        store.go.clear()
        waiting = [asyncio.ensure_future(writer.report(f"r{number}")) for number in range(5)]  # type: ignore[arg-type]
        while len(writer) + sum(map(len, store.batches)) < 3:
            await asyncio.sleep(0.001)
        closing = asyncio.get_running_loop().run_in_executor(None, writer.close)
        store.go.set()
        await closing
        with pytest.raises(Busy, match="stopping"):
            await writer.report("late")  # type: ignore[arg-type]
        return await asyncio.gather(*waiting)

    assert len(asyncio.run(run())) == 5
    assert sum(map(len, store.batches)) == 5


def test_somebody_who_went_away_is_not_waited_for() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=8)

    async def run() -> None:
        store.go.clear()
        gone = asyncio.ensure_future(writer.report("r0"))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        gone.cancel()
        store.go.set()
        assert await writer.report("r1") == ("received", "r1")  # type: ignore[arg-type,comparison-overlap]

    asyncio.run(run())
    writer.close()
    assert [one for batch in store.batches for one in batch] == ["r0", "r1"]


def test_reports_that_come_one_by_one_wait_for_no_company() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=8, apart_s=60)

    async def run() -> None:
        for number in range(3):
            await asyncio.wait_for(writer.report(f"r{number}"), 20)  # type: ignore[arg-type]

    asyncio.run(run())
    writer.close()
    assert store.batches == [["r0"], ["r1"], ["r2"]]


@pytest.mark.parametrize("more", [7, 20])
def test_reports_close_behind_one_another_share_a_commit(more: int) -> None:
    """As many as one commit takes wait no longer, nor does a job, nor the end."""
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=7, apart_s=60)

    async def run() -> None:
        await several(store, writer)
        rest = [asyncio.ensure_future(writer.report(f"r{number}")) for number in range(more)]  # type: ignore[arg-type]
        await asyncio.wait_for(asyncio.gather(*rest[:7]), 20)
        if more > 7:
            await asyncio.wait_for(asyncio.gather(*rest[:14]), 20)
            await settled(writer, 6)
            assert await asyncio.wait_for(writer.run(lambda: "done"), 20) == "done"

    asyncio.run(run())
    writer.close()
    assert [len(batch) for batch in store.batches] == ([7] if more == 7 else [7, 7, 6])


def test_closing_waits_for_no_company() -> None:
    store = Batches()
    writer = Writer(store.receive, capacity=100, batch=8, apart_s=60)

    async def run() -> None:
        await several(store, writer)
        late = asyncio.ensure_future(writer.report("r1"))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert len(writer) == 1
        await asyncio.get_running_loop().run_in_executor(None, writer.close)
        assert await asyncio.wait_for(late, 20) == ("received", "r1")

    asyncio.run(run())
    assert store.batches == [["r1"]]
