"""Questions that are asked together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from envcheck_server.api.together import Together


def test_what_comes_meanwhile_is_asked_at_once() -> None:
    asked: list[list[str]] = []

    async def ask(keys: Sequence[str]) -> None:
        asked.append(sorted(keys))
        await asyncio.sleep(0.01)

    async def main() -> None:
        together = Together(ask)
        first = asyncio.create_task(together.about("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(*(together.about(key) for key in ("b", "c", "b", "d")))
        await first
        await together.about("a")

    asyncio.run(main())
    assert asked == [["a"], ["b", "c", "d"], ["a"]]


def test_an_error_reaches_everybody_and_the_next_question_is_asked_anew() -> None:
    failing = [True]

    async def ask(keys: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if failing[0]:
            raise OSError(",".join(sorted(keys)))

    async def main() -> None:
        together = Together(ask)
        results = await asyncio.gather(together.about("a"), together.about("b"), return_exceptions=True)
        assert [str(one) for one in results] == ["a,b", "a,b"]
        failing[0] = False
        await together.about("a")

    asyncio.run(main())


def test_one_that_goes_away_takes_nobody_with_it() -> None:
    async def ask(keys: Sequence[str]) -> None:
        await asyncio.sleep(0.02)

    async def main() -> None:
        together = Together(ask)
        gone, stays = (asyncio.create_task(together.about("a")) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await stays

    asyncio.run(main())
