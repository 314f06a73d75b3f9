"""Many questions of one kind, asked together: what comes in while one is answered waits for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

_MOST = 256


class Together:
    """Asks `ask` about many keys at once. For one event loop only."""

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[object]]) -> None:
        self._ask = ask
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def about(self, key: str) -> None:
        """Return once a question about this key was answered; raises what the question raised."""
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._run())
        # One that goes away must not take the others with it.
        await asyncio.shield(self._waiting[key])

    async def _run(self) -> None:
        try:
            while self._waiting:
                some = {key: self._waiting.pop(key) for key in [*self._waiting][:_MOST]}
                await self._answer(some)
        finally:
            self._asking = None

    async def _answer(self, some: dict[str, asyncio.Future[None]]) -> None:
        error: BaseException | None = None
        try:
            await self._ask([*some])
        except Exception as raised:  # noqa: BLE001  (handed to everybody who waits)
            error = raised
        for future in some.values():
            if error is not None:
                future.set_exception(error)
                # Nobody may be left to look at it.
                future.exception()
            else:
                future.set_result(None)
