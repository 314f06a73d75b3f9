"""HTTP/1.1 as uvicorn speaks it, with bounds on what a stranger may send before a request is known."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from envcheck_server.service.metrics import Traffic

# Well above what devices, CI and proxies send.
MOST_HEAD_BYTES = 64 * 1024
HEAD_WITHIN_S = 20.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too long or take too long.

    uvicorn bounds neither with its fast parser. How long a body may take is the endpoint's to say.
    """

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        application: Any = self.config.app
        self._traffic: Traffic = application.state.traffic
        self._traffic.connections += 1
        self._head: int | None = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_more()
        self._traffic.connections -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head; more than one read beyond the bound is never held."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > MOST_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")
            elif self._timer is None:
                self._wait()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = None
        self._wait_no_more()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:
            self._refuse(b"408 Request Timeout")
        else:
            self._wait()  # an earlier request of this connection is still being answered

    def _refuse(self, status: bytes) -> None:
        self._wait_no_more()
        if not self.transport.is_closing():
            self._traffic.cut_off += 1
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()
