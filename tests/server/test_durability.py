"""What was acknowledged is there after a kill, and what was taken in is answered before it stops."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.collector import Holder, make_bundle
from support.postgres import own_server
from support.process import Process
from support.soak import Load, collector, kill_collector, kill_postgres, open_store

from envcheck.contract.canonical import digest


@pytest.fixture
def process(tmp_path: Path, place):
    """A collector over each kind of store."""
    with collector(tmp_path, place) as made:
        yield made


def test_kill_9_loses_nothing_that_was_acknowledged(process: Process) -> None:
    found = kill_collector(process, 1, 6, lambda _: None)
    assert (found.rounds, found.lost) == (1, 0)
    assert found.acknowledged >= 6


@pytest.mark.slow
def test_kill_9_twenty_times(process: Process) -> None:
    found = kill_collector(process, 20, 16, lambda _: None)
    assert (found.rounds, found.lost) == (20, 0)
    assert found.resent > 0, "otherwise no report was ever under way"


@pytest.mark.slow
def test_a_crash_of_postgres_loses_nothing_and_needs_nobody(tmp_path: Path) -> None:
    with own_server(fsync="on") as server, collector(tmp_path, server.url) as process:
        found = kill_postgres(process, server, 3, 16, lambda _: None)
    assert (found.rounds, found.lost) == (3, 0)
    assert found.turned_away > 0, "otherwise nobody noticed"


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_what_is_lost_is_found(process: Process) -> None:
    """The measure itself: a store that forgot a report is caught."""
    process.start()
    load = Load.enrol(process, 2)
    load.start()
    load.wait(4)
    load.stop()
    assert process.stop() == 0
    assert load.lost() == set()
    store = open_store(process.place)
    with store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM changes WHERE device = 'soak-000' AND seq = 1")
    store.close()
    assert load.lost() == {("soak-000", 1)}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after_s", [0.3, 0.45, 0.6, 0.9])
def test_sigterm_while_it_starts_is_not_forgotten(process: Process, after_s: float) -> None:
    command = [sys.executable, "-m", "envcheck_server", "serve", "--port", "0"]
    with (process.directory / "log").open("wb") as log:
        process.process = subprocess.Popen(command, env=process.environ, stderr=log)
    # Before it can handle a signal at all, one ends it; what matters is that it ends.
    time.sleep(after_s)
    assert process.stop() in (0, -signal.SIGTERM)


def test_sigterm_under_load_answers_all_that_it_took_in(process: Process) -> None:
    process.start()
    load = Load.enrol(process, 12)
    load.start()
    load.wait(36)
    assert process.stop() == 0
    load.join()
    assert load.wrong == []
    assert load.lost() == set()
    store = open_store(process.place)
    last = {device.name: store.devices.find(device.name).seq for device in load.devices}
    store.close()
    told = {name: max(seq for device, seq in load.acknowledged if device == name) for name in last}
    assert last == told, "every stored report was acknowledged"


def upload(process: Process, data: bytes, secret: str) -> socket.socket:
    """Begin to send a bundle, and stop in its middle."""
    place = urlsplit(process.url)
    connection = socket.create_connection((place.hostname, place.port), timeout=30)
    head = f"PUT /v1/bundles/{digest(data)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    connection.sendall(f"{head}Authorization: Bearer {secret}\r\n\r\n".encode() + data[: len(data) // 2])
    return connection


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_sigterm_lets_an_upload_end(process: Process) -> None:
    process.start()
    data, secret = make_bundle(providers=["x" * 300_000]), process.token("baseline:write")
    stopped = threading.Event()
    with upload(process, data, secret) as going_on, upload(process, data, secret) as given_up:
        time.sleep(0.5)
        thread = threading.Thread(target=lambda: (process.stop(), stopped.set()))
        thread.start()
        given_up.close()
        time.sleep(0.5)
        assert not stopped.is_set(), "it waits for what was begun"
        going_on.sendall(data[len(data) // 2 :])
        assert going_on.recv(65536).startswith(b"HTTP/1.1 200")
        thread.join(30)
    assert process.process is not None
    assert process.process.returncode == 0
    process.start()
    with process.client() as http:
        ci = Holder(http, secret)
        assert ci.send("GET", f"/v1/bundles/{digest(data)}").content == data


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_opening_a_database_twice_drops_no_lock(place: Path) -> None:
    """POSIX drops every lock that a process has on a file when it closes the file, however it was opened."""
    first = open_store(place)
    assert first.revision()
    open_store(place).close()
    look = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('PRAGMA journal_mode = DELETE'))"
    said = subprocess.run([sys.executable, "-c", look, str(place)], capture_output=True, text=True)
    first.close()
    assert "locked" in said.stderr, "another process took the database for its own"
