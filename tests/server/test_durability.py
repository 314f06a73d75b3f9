"""What was acknowledged is there after the power is cut."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from support.collector import Device, told

from envcheck.contract.wire import ReportAnswer
from envcheck_server.service.enrolment import EnrolmentService
from envcheck_server.store.sqlite import open_sqlite


def report_until_killed(device: Device, acknowledged: dict[str, int], enough: threading.Event) -> None:
    with device.http:
        while True:
            report = device.compose()
            try:
                response = device.put_report(report)
            except httpx.TransportError:
                return
            told(response, ReportAnswer)
            acknowledged[device.name] = report.seq
            if report.seq % 5 == 0:
                enough.set()


def kill_and_look(process, rounds: int) -> None:
    process.start()
    token = process.token("enroll", "--uses", "1000")
    devices = [Device(None, f"d-{number}") for number in range(6)]  # type: ignore[arg-type]
    with process.client() as http:
        for device in devices:
            device.http = http
            device.enrol(token)
    store = open_sqlite(process.directory / "collector.db")
    for device in devices:
        EnrolmentService(store, lambda: int(time.time())).accept(device.name)
    store.close()
    acknowledged: dict[str, int] = {}
    for turn in range(rounds):
        if turn:
            process.start()
        enough = threading.Event()
        threads = []
        for device in devices:
            device.http = process.client()
            threads.append(threading.Thread(target=report_until_killed, args=(device, acknowledged, enough)))
            threads[-1].start()
        assert enough.wait(30)
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
        for thread in threads:
            thread.join()
        hold(process.directory / "collector.db", acknowledged, devices)


def hold(path: Path, acknowledged: dict[str, int], sent: list[Device]) -> None:
    """Hold the database to what was acknowledged. What was sent may be stored without having been told."""
    store = open_sqlite(path)
    assert max(acknowledged.values()) >= 5
    for device in sent:
        row = store.devices.find(device.name)
        assert row is not None
        assert acknowledged.get(device.name, -1) <= row.seq <= device.seq, device.name
    store.close()


def test_kill_9_loses_nothing_that_was_acknowledged(process) -> None:
    kill_and_look(process, 2)


@pytest.mark.slow
def test_kill_9_twenty_times(process) -> None:
    kill_and_look(process, 20)


@pytest.mark.parametrize("after_s", [0.3, 0.45, 0.6, 0.9])
def test_sigterm_while_it_starts_is_not_forgotten(process, after_s: float) -> None:
    command = [sys.executable, "-m", "envcheck_server", "serve", "--port", "0"]
    with (process.directory / "log").open("wb") as log:
        process.process = subprocess.Popen(command, env=process.environ, stderr=log)
    # Before it can handle a signal at all, one ends it; what matters is that it ends.
    time.sleep(after_s)
    assert process.stop() in (0, -signal.SIGTERM)


def test_sigterm_answers_what_it_took_in(process) -> None:
    process.start()
    token = process.token("enroll", "--uses", "1")
    with process.client() as http:
        device = Device(http)
        device.enrol(token)
    device.http = process.client()
    acknowledged: dict[str, int] = {}
    enough = threading.Event()
    thread = threading.Thread(target=report_until_killed, args=(device, acknowledged, enough))
    thread.start()
    assert enough.wait(30)
    assert process.stop() == 0
    thread.join()
    store = open_sqlite(process.directory / "collector.db")
    row = store.devices.find(device.name)
    assert row is not None
    assert row.seq == acknowledged[device.name], "every stored report was acknowledged"
    store.close()
