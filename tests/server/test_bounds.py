"""What a stranger or a broken device sends to a real collector: refused in words, in bounded memory."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.collector import Device, Holder, refused
from support.process import Process
from support.soak import collector

from envcheck.contract.canonical import digest
from envcheck.errors import BadInput
from envcheck_server.service.errors import TooLarge
from envcheck_server.service.objects import gunzip
from envcheck_server.service.times import read_seconds

MIB = 1024 * 1024
REPORT = b'{"format":"envcheck.report/1.0","epoch":1,"seq":1,"readings":'
SECTION = b'{"format":"envcheck.section/1.0","name":"cpu","status":"ok","facts":'


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A running collector."""
    with collector(tmp_path_factory.mktemp("bounds")) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def sender(process: Process) -> Iterator[Device]:
    """An accepted device of it, to which everything was answered once."""
    with process.client() as http:
        device = Device(http)
        device.enrol(process.token("enroll", "--uses", "1"))
        device.report()
        yield device


def bomb(size: int) -> bytes:
    """A few megabytes that unfold to `size`: one piece again and again."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(b"\0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    return pieces[0] + pieces[1] * (size // MIB - 1)


def report(device: Device, body: bytes) -> httpx.Response:
    answer: httpx.Response = device.send("PUT", f"/v1/devices/{device.name}/report", body)
    return answer


def packed(device: Device, data: bytes) -> httpx.Response:
    answer: httpx.Response = device.put_object(data, packed=True)
    return answer


def unfolding(device: Device, body: bytes) -> httpx.Response:
    answer: httpx.Response = device.send("PUT", f"/v1/objects/{'a' * 64}", body, Content_Encoding="gzip")
    return answer


Send = Callable[[Device, bytes], httpx.Response]
ATTACKS: dict[str, tuple[Send, Callable[[], bytes], int, str]] = {
    "a report nested deeply": (report, lambda: REPORT + b"[" * 250_000, 400, "nested"),
    "a closed report nested deeply": (
        report,
        lambda: REPORT + b"[" * 100_000 + b"]" * 100_000 + b"}",
        400,
        "nested",
    ),
    "a report of digits": (report, lambda: REPORT + b"9" * 250_000 + b"}", 400, "report"),
    "a report of ten megabytes": (report, lambda: REPORT + b"9" * (10 * MIB) + b"}", 413, "more than"),
    "an object of four million digits": (packed, lambda: SECTION + b"9" * 4_000_000 + b"}", 400, ""),
    "an object of ten million digits": (
        packed,
        lambda: SECTION + b"9" * (10 * MIB) + b"}",
        413,
        "decompressed",
    ),
    "an object nested deeply": (packed, lambda: SECTION + b'{"a":' * 600_000, 400, ""),
    "a bomb of three gigabytes": (unfolding, lambda: bomb(3072 * MIB), 413, "decompressed"),
}


def test_what_is_too_large_or_too_deep_is_refused_in_bounded_memory(process: Process, sender: Device) -> None:
    bodies = {name: make() for name, (_, make, _, _) in ATTACKS.items()}
    # What an honest object of the largest size costs is no attack.
    refused(packed(sender, b" " * (4 * MIB)), 400)
    before = process.memory_peak()
    for name, (send, _, status, word) in ATTACKS.items():
        problem = refused(send(sender, bodies[name]), status)
        assert word in problem.message, (name, problem.message)
        assert len(problem.message) < 1000, name
    alone = process.memory_peak() - before
    assert alone < 64 * MIB, f"{alone / MIB:.0f} MiB more"
    assert sender.report().stored
    assert sender.http.request("GET", "/healthz").status_code == 200
    assert "Traceback" not in process.log


def test_many_of_them_at_once_stay_in_bounded_memory(process: Process, sender: Device) -> None:
    bodies = {name: make() for name, (_, make, _, _) in ATTACKS.items()}

    def attack(number: int) -> None:
        name = list(ATTACKS)[number % len(ATTACKS)]
        send, _, status, _ = ATTACKS[name]
        answer = send(sender, bodies[name])
        # Of large bodies only so many are held at a time.
        refused(answer, 503 if answer.status_code == 503 and len(bodies[name]) > MIB else status)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(attack, range(96)))
    assert process.memory_peak() < 256 * MIB
    assert sender.report().stored


def test_ten_megabytes_of_digits_from_a_tokens_bearer(process: Process, sender: Device) -> None:
    ask = Holder(sender.http, process.token("gate:read"))
    question = b'{"format":"envcheck.gate-question/1.0","release":"a@1","max_age_s":'
    before = process.memory_peak()
    assert refused(ask.send("POST", "/v1/gate", question + b"9" * (10 * MIB) + b"}"), 400).message
    assert refused(ask.send("POST", "/v1/gate", question + b"[" * (10 * MIB)), 400).message
    assert process.memory_peak() - before < 96 * MIB
    assert sender.report().stored


@pytest.mark.slow
def test_many_slow_senders_are_cut_off_and_keep_nobody_waiting(process: Process, sender: Device) -> None:
    """With the bounds as they are: 20 s for a head, a body of at least 8 KiB a second after 30 s."""
    place = urlsplit(process.url)
    before = process.memory_peak()
    with ExitStack() as stack:
        silent, dripping = (
            [
                stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=60))
                for _ in range(150)
            ]
            for _ in range(2)
        )
        begun = time.monotonic()
        while time.monotonic() - begun < 18:
            for one in dripping:
                with suppress(OSError):  # it was cut off already
                    one.sendall(b"G")
            assert sender.report().stored, "nobody else waits for them"
            time.sleep(0.5)
        for one in silent:
            assert one.recv(1000).startswith(b"HTTP/1.1 408")
            assert one.recv(1000) == b""
        for one in dripping:
            with suppress(ConnectionError):
                while one.recv(1000):
                    pass
        assert time.monotonic() - begun < 40
    assert process.memory_peak() - before < 64 * MIB
    assert sender.report().stored


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_gzip_or_bad_input(data: bytes, largest: int) -> None:
    with suppress(BadInput):
        assert len(gunzip(data, largest)) <= largest
    whole = gzip.compress(data, mtime=0)
    if len(data) > largest:
        with pytest.raises(TooLarge):
            gunzip(whole, largest)
    else:
        assert gunzip(whole, largest) == data


@given(st.binary(min_size=1, max_size=60), st.data())
def test_gzip_cut_off_or_with_something_behind_it_is_refused(data: bytes, draw: st.DataObject) -> None:
    whole = gzip.compress(data, mtime=0)
    cut = draw.draw(st.integers(0, len(whole) - 1))
    for broken in (whole[:cut], whole + data, whole + whole):
        with pytest.raises(BadInput):
            gunzip(broken, 1000)


@given(
    st.text()
    | st.datetimes().map(str)
    | st.from_regex(r"\d{1,5}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
)
def test_any_text_is_a_time_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        assert abs(read_seconds(text, "captured_at")) < 10**12


@pytest.mark.parametrize(
    "facts",
    [
        b'{"a":"' + b"x" * 3_000_000 + b'"}',
        b"{" + b",".join(b'"%d":0' % one for one in range(300_000)) + b"}",
    ],
    ids=["long", "many"],
)
def test_an_object_that_is_large_and_honest_is_taken(process: Process, sender: Device, facts: bytes) -> None:
    data = SECTION + facts + b"}"
    assert packed(sender, data).json()["stored"] == digest(data)
    assert process.memory_peak() < 400 * MIB
