"""Bundles come in pieces, from where a transfer broke off."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
import support.collector as collectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.collector import Holder, make_bundle, refused

from envcheck.contract.canonical import digest
from envcheck_server.api.upload import Upload
from envcheck_server.store.interface import StoreFull


@pytest.fixture
def bundle() -> bytes:
    return make_bundle()


@pytest.fixture
def path(collector, bundle) -> str:
    collector.holder("baseline:write").push(bundle)
    return f"/v1/bundles/{digest(bundle)}"


def test_a_bundle_is_sent_to_devices_and_to_holders_of_tokens(collector, bundle, path) -> None:
    device = collector.device()
    for answer in (device.send("GET", path), collector.holder("baseline:write").send("GET", path)):
        assert answer.status_code == 200
        assert answer.content == bundle
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Length"] == str(len(bundle))
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["ETag"] == f'"{digest(bundle)}"'


@pytest.mark.parametrize("asked", ["0-0", "0-", "10-19", "100-", "-7", "5-999999999"])
def test_ranges(collector, bundle, path, asked: str) -> None:
    answer = collector.device().send("GET", path, Range=f"bytes={asked}")
    first, _, last = asked.partition("-")
    start = int(first) if first else len(bundle) - int(last)
    stop = min(int(last) + 1, len(bundle)) if first and last else len(bundle)
    assert answer.status_code == 206
    assert answer.content == bundle[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(bundle)}"


@pytest.mark.parametrize("asked", ["9999999-", "7-3", "-", "-0"])
def test_ranges_that_can_not_be(collector, bundle, path, asked: str) -> None:
    answer = collector.device().send("GET", path, Range=f"bytes={asked}")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(bundle)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=a-b"])
def test_what_is_no_range_gets_the_whole(collector, bundle, path, asked: str) -> None:
    answer = collector.device().send("GET", path, Range=asked)
    assert (answer.status_code, answer.content) == (200, bundle)


def test_whatever_range_is_asked_for_the_answer_says_what_it_holds(collector, bundle, path) -> None:
    device = collector.device()
    size = len(bundle)
    numbers = st.sampled_from(["", "0", "7", str(size - 1), str(size), str(size + 1), "9" * 18, "9" * 40])
    units = st.sampled_from(["bytes=", "bytes =", "bytes", "lines=", ""])
    strange = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)
    ranges = st.tuples(units, numbers | strange, st.sampled_from(["-", "--", "", ","]), numbers | strange)

    @given(ranges.map("".join))
    @settings(suppress_health_check=[HealthCheck.too_slow])
    def ask(asked: str) -> None:
        answer = device.send("GET", path, Range=asked)
        if answer.status_code == 206:
            first, last, whole = map(int, re.findall(r"[0-9]+", answer.headers["Content-Range"]))
            assert (answer.content, whole) == (bundle[first : last + 1], size)
        elif answer.status_code == 416:
            assert answer.headers["Content-Range"] == f"bytes */{size}"
        else:
            assert (answer.status_code, answer.content) == (200, bundle)

    ask()


def test_conditions(collector, bundle, path) -> None:
    device, tag = collector.device(), f'"{digest(bundle)}"'
    assert device.send("GET", path, If_None_Match=tag).status_code == 304
    assert device.send("GET", path, If_None_Match='"other"').status_code == 200
    assert device.send("GET", path, Range="bytes=0-4", If_Range=tag).content == bundle[:5]
    assert device.send("GET", path, Range="bytes=0-4", If_Range='"other"').content == bundle


def test_a_bundle_that_is_not_there(collector, path) -> None:
    assert "no such bundle" in refused(collector.device().send("GET", f"/v1/bundles/{'0' * 64}"), 404).message


@pytest.mark.slow
def test_a_large_bundle_passes_through_memory_in_pieces(process, monkeypatch) -> None:
    """What counts is memory that the system can't take back: the file's own pages it can."""
    monkeypatch.setattr(collectors, "MODEL", os.urandom(64 * 1024 * 1024))
    bundle = make_bundle()
    process.start()
    status = Path(f"/proc/{process.process.pid}/status")
    held, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            held.append(anonymous())

    def anonymous() -> int:
        found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
        assert found is not None
        return int(found[1]) // 1024

    with process.client() as http:
        ci = Holder(http, process.token("baseline:write"))
        before = anonymous()
        looking = threading.Thread(target=look)
        looking.start()
        assert ci.send("PUT", f"/v1/bundles/{digest(bundle)}", bundle).status_code == 200
        assert ci.send("GET", f"/v1/bundles/{digest(bundle)}").content == bundle
        done.set()
        looking.join()
    assert max(held) - before < 32
    assert [one.name for one in process.directory.iterdir() if "tmp" in one.name] == []


def test_no_room_for_an_upload_is_told() -> None:
    with Upload(None) as upload:
        upload._file.close()
        upload._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 (Upload closes it)
        with pytest.raises(StoreFull, match="no room"):
            upload.add(b"x")
