"""Send requests that were signed before, over kept connections, and time the answers: a process of its own.

    python load.py HOST PORT REQUESTS --connections N [--storm] [--patience S]

REQUESTS is a file of whole HTTP/1.1 requests, each after its length in four bytes. Request i goes over
connection i % N, so that requests of one device stay in order when their distance is a multiple of N. With
--storm every request has a connection of its own, all opened at once, and one that is turned away with 429 or
503, or by a full backlog, comes again after what Retry-After says. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast

_LENGTH = struct.Struct(">I")
_TURNED_AWAY = (429, 503)
_MANY = 1024


class Connection(asyncio.Protocol):
    """One kept connection: sends its requests one after the other, each once the last was answered."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.done = done
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.retry_after = 0.0
        self._next = 0
        self._sent = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if len(rest) < int(fields.get(b"content-length", b"0")):
            return
        self._buffer = b""
        self.latencies.append(time.perf_counter() - self._sent)
        self.statuses[int(head[9:12])] += 1
        self.retry_after = float(fields.get(b"retry-after", b"0"))
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the collector closed the connection"))

    def _send(self) -> None:
        if self._next == len(self.requests):
            self.done.set_result(None)
            self.transport.close()
            return
        request = self.requests[self._next]
        self._next += 1
        self._sent = time.perf_counter()
        self.transport.write(request)


async def steady(host: str, port: int, requests: list[bytes], connections: int) -> dict[str, object]:
    """Keep `connections` busy until all was answered."""
    loop = asyncio.get_running_loop()
    running: list[tuple[Connection, asyncio.Future[None]]] = []
    begun = time.perf_counter()
    for number in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        _, connection = await loop.create_connection(
            lambda number=number, done=done: Connection(requests[number::connections], done), host, port
        )
        running.append((connection, done))
    await asyncio.gather(*(done for _, done in running))
    seconds = time.perf_counter() - begun
    latencies = [one for connection, _ in running for one in connection.latencies]
    statuses = sum((connection.statuses for connection, _ in running), Counter[int]())
    return {"requests": len(requests), "seconds": seconds, **_figures(latencies, statuses)}


async def storm(host: str, port: int, requests: list[bytes], patience_s: float) -> dict[str, object]:
    """Let every request come at once, each over its own connection, until each was answered for good."""
    loop = asyncio.get_running_loop()
    statuses: Counter[int] = Counter()
    tries: list[int] = []
    waits: list[float] = []
    begun = time.perf_counter()

    async def device(request: bytes, lot: random.Random) -> None:
        for number in range(1, 200):
            wait = 0.5
            try:
                done: asyncio.Future[None] = loop.create_future()
                answered = Connection([request], done)
                _, connection = await loop.create_connection(lambda made=answered: made, host, port)
                await asyncio.wait_for(done, 60)
                (status,) = connection.statuses
                statuses[status] += 1
                if status not in _TURNED_AWAY:
                    tries.append(number)
                    waits.append(time.perf_counter() - begun)
                    return
                wait = connection.retry_after
            except (OSError, TimeoutError):
                statuses[0] += 1
            if time.perf_counter() - begun > patience_s:
                return
            # As the agent does: what was asked for, and up to as much again.
            await asyncio.sleep(wait * (1 + lot.random()))

    await asyncio.gather(*(device(one, random.Random(number)) for number, one in enumerate(requests)))
    return {
        "requests": len(requests),
        "seconds": time.perf_counter() - begun,
        "answered": len(tries),
        "most_tries": max(tries, default=0),
        **_figures(waits, statuses),
    }


def _figures(latencies: list[float], statuses: Counter[int]) -> dict[str, object]:
    ordered = sorted(latencies) or [0.0]
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


def read_requests(path: Path) -> list[bytes]:
    """Read what `write_requests` wrote."""
    data, position, found = path.read_bytes(), 0, []
    while position < len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        found.append(data[position : position + length])
        position += length
    return found


def write_requests(path: Path, requests: list[bytes]) -> None:
    """Write whole requests, each after its length."""
    path.write_bytes(b"".join(_LENGTH.pack(len(one)) + one for one in requests))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--storm", action="store_true")
    parser.add_argument("--patience", type=float, default=120.0)
    options = parser.parse_args()
    requests = read_requests(options.requests)
    work = (
        storm(options.host, options.port, requests, options.patience)
        if options.storm
        else steady(options.host, options.port, requests, options.connections)
    )
    try:
        import uvloop

        found = uvloop.run(work)
    except ImportError:
        found = asyncio.run(work)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
