"""What goes wrong around a real collector: it says so, and recovers by itself with all it acknowledged."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.collector import Device, Holder, make_bundle, refused, told
from support.postgres import own_server
from support.process import Process
from support.soak import collector
from support.tools import missing

from envcheck.contract.canonical import digest
from envcheck.contract.wire import Problem, Report, ReportAnswer
from envcheck_server.store.opening import open_store

_DISK = 16 * 1024 * 1024
# What PostgreSQL takes for itself, and some more.
_DATABASE_DISK = 128 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A very small disk."""
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", _DISK) as place:
        yield place


@pytest.fixture
def database_disk() -> Iterator[Path]:
    """A small disk where PostgreSQL may come, whom nobody lets into a test's own directory."""
    place = Path(tempfile.mkdtemp(prefix="envcheck-disk-"))
    place.chmod(0o755)
    try:
        with mounted(place, _DATABASE_DISK):
            yield place
    finally:
        place.rmdir()


@contextmanager
def mounted(place: Path, size: int) -> Iterator[Path]:
    if os.geteuid() != 0:
        missing("only root can mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        missing(f"a small disk can't be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def enrolled(process: Process, http: httpx.Client, name: str = "press-07") -> Device:
    device = Device(http, name)
    assert device.enrol(process.token("enroll", "--uses", "1")).state == "accepted"
    return device


def news(device: Device) -> str:
    """Something that the device never said before, so that storing it takes room."""
    return digest(f"{device.name} {device.seq}".encode())


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    assert shutil.disk_usage(disk).free == 0
    return ballast


def until_turned_away(device: Device, acknowledged: list[int]) -> tuple[Report, Any]:
    """Report news until the answer is that there is no room; return that report and its answer."""
    for _ in range(2000):
        report = device.compose(fingerprint=news(device))
        answer = device.put_report(report)
        if answer.status_code != 200:
            break
        acknowledged.append(report.seq)
    assert answer.status_code in (503, 507), answer.text
    return report, answer


def turned_away(answer: httpx.Response) -> Problem:
    """An answer that acknowledges nothing and says when to come again."""
    assert int(answer.headers["Retry-After"]) > 0
    return refused(answer, answer.status_code)


def ready_within(http: httpx.Client, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while http.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, http.get("/readyz").text
        time.sleep(0.1)


def test_a_full_disk_is_told_and_nothing_is_lost_by_it(process: Process, disk: Path) -> None:
    process.database = disk / "collector.db"
    process.start()
    secret = process.token("baseline:write")
    bundle = make_bundle(providers=["x" * 300_000])
    acknowledged = []
    with process.client() as http:
        device = enrolled(process, http)
        device.report()
        ballast = fill(disk)
        answer = told(http.get("/readyz"), Problem, 507)
        assert "disk is full" in answer.message
        assert http.get("/healthz").status_code == 200
        assert turned_away(Holder(http, secret).send("PUT", f"/v1/bundles/{digest(bundle)}", bundle)).message
        # What the log has room for is still taken, and counts.
        report, answer = until_turned_away(device, acknowledged)
        assert "disk" in turned_away(answer).message
        assert turned_away(device.put_report(report)).message, "and again"
        ballast.unlink()
        ready_within(http, 10)
        assert told(device.put_report(report), ReportAnswer).stored, "the same report is taken now"
        acknowledged.append(report.seq)
        assert Holder(http, secret).send("PUT", f"/v1/bundles/{digest(bundle)}", bundle).status_code == 200
        device.report()
    assert process.stop() == 0
    assert set(acknowledged) <= stored_by(process.place)
    with sqlite3.connect(process.place) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert process.log.count("not ready: the collector's disk is full") == 1
    assert process.log.count("ready again") == 1
    assert "Traceback" not in process.log


@pytest.mark.slow
def test_a_full_disk_under_a_postgres_is_told_and_nothing_is_lost_by_it(
    tmp_path: Path, database_disk: Path
) -> None:
    acknowledged = []
    with own_server(database_disk) as server, collector(tmp_path, server.url) as process:
        process.start()
        with process.client() as http:
            device = enrolled(process, http)
            device.report()
            ballast = fill(database_disk)
            time.sleep(1.1)  # for a second it is believed that what was well still is
            assert "disk is full" in told(http.get("/readyz"), Problem, 507).message
            assert http.get("/healthz").status_code == 200
            # What the pages have room for is still taken, and counts.
            report, answer = until_turned_away(device, acknowledged)
            assert turned_away(answer).message
            assert turned_away(device.put_report(report)).message, "and again"
            ballast.unlink()
            ready_within(http, 10)
            assert told(device.put_report(report), ReportAnswer).stored, "the same report is taken now"
            acknowledged.append(report.seq)
            device.report()
        assert process.stop() == 0
        assert set(acknowledged) <= stored_by(server.url)
    assert process.log.count("not ready: the collector's disk is full") == 1
    assert process.log.count("ready again") == 1
    assert "Traceback" not in process.log


def stored_by(place: Path | str) -> set[int]:
    """The numbers of the reports in the history of the one device."""
    store = open_store(place)
    with store._database.read() as connection:
        rows = connection.exec_driver_sql("SELECT seq FROM changes WHERE device = 'press-07'")
        found = {seq for (seq,) in rows}
    store.close()
    return found


@pytest.mark.slow
def test_a_postgres_that_goes_away_is_told_and_found_again(tmp_path: Path) -> None:
    with own_server() as server, collector(tmp_path, server.url) as process:
        process.start()
        metrics = process.token("metrics:read")
        with process.client() as http:
            device = enrolled(process, http)
            device.report()
            for number in (signal.SIGINT, signal.SIGQUIT):
                server.stop(number)
                report = device.compose(fingerprint=news(device))
                assert turned_away(device.put_report(report)).message
                time.sleep(1.1)  # for a second it is believed that what was well still is
                problem = turned_away(http.get("/readyz"))
                assert "not available" in problem.message
                assert http.get("/healthz").status_code == 200
                assert turned_away(Holder(http, metrics).send("GET", "/metrics")).message
                server.start()
                ready_within(http, 20)
                assert told(device.put_report(report), ReportAnswer).stored
            text = Holder(http, metrics).send("GET", "/metrics").text
            assert 'envcheck_refused_total{reason="store_busy"}' in text
        assert process.stop() == 0
        assert process.log.count("ready again") == 2
        assert "Traceback" not in process.log


def test_a_database_of_another_schema_is_not_ready(process: Process) -> None:
    """Somebody migrated it, or put an old backup in its place, while the collector ran."""
    process.start()

    def put(revision: str) -> str:
        with sqlite3.connect(process.place) as connection:
            (before,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.close()
        return str(before)

    with process.client() as http:
        assert http.get("/readyz").status_code == 200
        before = put("0001")
        time.sleep(1.1)
        problem = turned_away(http.get("/readyz"))
        assert "schema is 0001 now" in problem.message
        assert before in problem.message
        assert "migrate" in problem.hint
        assert http.get("/healthz").status_code == 200
        put(before)
        ready_within(http, 10)
    assert process.stop() == 0
