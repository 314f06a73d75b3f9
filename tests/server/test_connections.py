"""What a stranger can make the collector hold: heads and bodies have their bounds in size and in time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from support.collector import Device, refused

from envcheck.contract.http_signature import sign_request
from envcheck_server.api import endpoint, protocol
from envcheck_server.app import create_app
from envcheck_server.commands.serve import _configuration
from envcheck_server.service.services import make_services

REPORT = "/v1/devices/press-07/report"


@dataclass
class Live:
    """The collector on a real socket, in a thread of this process; `device` is accepted."""

    address: tuple[str, int]
    device: Device

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)


@pytest.fixture
def keep_alive_s() -> float:
    return 75


@pytest.fixture
def live(store, settings, monkeypatch, keep_alive_s: float) -> Iterator[Live]:
    monkeypatch.setattr("envcheck_server.commands.serve._KEEP_ALIVE_S", keep_alive_s)
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.5)
    monkeypatch.setattr(endpoint, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(endpoint, "_SLOWEST", 1_000_000)
    services = make_services(settings, store)
    server = uvicorn.Server(_configuration(settings, create_app(settings, store, lambda *_: services)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        address = listener.getsockname()
        with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}", trust_env=False, timeout=20) as http:
            device = Device(http)
            device.enrol(services.tokens.create("enroll", uses=1)[0])
            yield Live(address, device)
            server.should_exit = True
            thread.join(20)


def heard(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            said += piece
    return said


@pytest.mark.parametrize("line", [b"X-Many: headers\r\n", b"one header without end"], ids=["many", "long"])
def test_headers_without_end_are_cut_off(live: Live, line: bytes) -> None:
    sent = 0
    with live.connect() as stranger:
        stranger.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + (b"Y: " if b":" not in line else b""))
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                stranger.sendall(line * 1000)
                sent += len(line) * 1000
        assert heard(stranger)[:12] in (b"HTTP/1.1 431", b"")
    assert sent < 10_000_000
    assert live.device.report().stored


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_who_says_nothing_or_little_is_not_waited_for(live: Live, begun: bytes) -> None:
    with live.connect() as stranger:
        stranger.sendall(begun)
        assert heard(stranger).startswith(b"HTTP/1.1 408")
    with live.connect() as again:
        again.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert again.recv(65536).startswith(b"HTTP/1.1 200")
        again.sendall(b"GET /healthz HTTP")
        assert heard(again).startswith(b"HTTP/1.1 408"), "nor in a second request of the same connection"


@pytest.mark.parametrize("keep_alive_s", [0.5])
def test_who_says_nothing_after_an_answer_is_let_go(live: Live) -> None:
    with live.connect() as idle:
        for _ in range(2):
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        assert heard(idle) == b"", "closed without a word: nothing was asked"
    assert live.device.report().stored


def test_a_body_that_drips_is_not_waited_for(live: Live) -> None:
    body = b"x" * 2000
    headers = sign_request("PUT", REPORT, "", body, 0, live.device.keyid, live.device.private.sign)

    def drip() -> Iterator[bytes]:
        with contextlib.suppress(ConnectionError):
            for at in range(2000):
                time.sleep(0.01)
                yield body[at : at + 1]

    begun = time.monotonic()
    answer = live.device.http.request("PUT", REPORT, content=drip(), headers=headers)
    assert "slowly" in refused(answer, 408).message
    assert answer.headers["connection"] == "close"
    assert time.monotonic() - begun < 15
    assert live.device.report().stored


def test_of_a_strangers_body_nothing_is_held(live: Live) -> None:
    """The key that a request names must be known before its body is read."""
    stranger = Device(live.device.http)
    headers = sign_request("PUT", REPORT, "", b"x" * 30_000, 0, stranger.keyid, stranger.private.sign)
    with live.connect() as connection:
        head = [f"PUT {REPORT} HTTP/1.1", "Host: x", "Content-Length: 30000"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 401"), "answered before a byte of the body"
