"""`envcheck report --if-due`: the collector says when, and looking whether it is time costs little."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.fleet import Collector, Device
from support.served import Answer, Served

from envcheck.commands import due
from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.wire import Problem, ReportAnswer
from envcheck.transport.state import State

Make = Callable[[], Device]


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine's clocks, and which start of it this is."""
    now: dict[str, float] = {"wall": 1_800_000_000, "since": 5000, "boot": 1}
    monkeypatch.setattr(due.time, "time", lambda: now["wall"])
    monkeypatch.setattr(due, "_since_boot", lambda: int(now["since"]))
    monkeypatch.setattr(due, "_boot", lambda: f"boot-{now['boot']}")
    return now


def passes(now: dict[str, float], seconds: float) -> None:
    now["wall"] += seconds
    now["since"] += seconds


def test_it_is_time_when_the_time_has_come(tmp_path: Path, moment: dict[str, float]) -> None:
    assert due.is_due(str(tmp_path))
    due.set_due(str(tmp_path), 300)
    assert not due.is_due(str(tmp_path))
    passes(moment, 269)
    assert not due.is_due(str(tmp_path))
    passes(moment, 1)
    assert due.is_due(str(tmp_path)), "of two minutes the nearer one is taken"


@pytest.mark.parametrize("step", [-10 * 365 * 86400, -3600, 3600, 10 * 365 * 86400])
def test_a_clock_that_is_set_makes_it_neither_early_nor_late(
    tmp_path: Path, moment: dict[str, float], step: int
) -> None:
    due.set_due(str(tmp_path), 300)
    moment["wall"] += step
    assert not due.is_due(str(tmp_path))
    passes(moment, 300)
    assert due.is_due(str(tmp_path))


def test_after_a_new_start_the_clock_counts_unless_it_makes_no_sense(
    tmp_path: Path, moment: dict[str, float]
) -> None:
    due.set_due(str(tmp_path), 300)
    moment.update(boot=2, since=20)
    passes(moment, 100)
    assert not due.is_due(str(tmp_path))
    passes(moment, 200)
    assert due.is_due(str(tmp_path))
    moment["wall"] = 0
    assert due.is_due(str(tmp_path)), "without a clock it is better to report"


@pytest.mark.parametrize("damage", [b"", b"x", b"a b c d e", b"\xff\xff", b"boot-1 1e9 2 3 x", b"0" * 500])
def test_a_damaged_hint_makes_it_time(tmp_path: Path, moment: dict[str, float], damage: bytes) -> None:
    (tmp_path / "due").write_bytes(damage)
    assert due.is_due(str(tmp_path))
    assert due.failures(str(tmp_path)) == 0


def test_a_flipped_digit_silences_no_device(tmp_path: Path, moment: dict[str, float]) -> None:
    (tmp_path / "due").write_text("boot-1 9999999999 9999999999 1800000000 0\n")
    assert due.is_due(str(tmp_path))
    moment["boot"] = 2
    assert due.is_due(str(tmp_path))


def test_a_report_sets_the_next_one_and_until_then_nothing_is_done(enrolled: Device) -> None:
    assert "report 1 acknowledged" in enrolled.run("report", "--if-due").out
    before = {path: path.stat().st_mtime_ns for path in enrolled.state.rglob("*")}
    said = enrolled.run("report", "--if-due")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in enrolled.state.rglob("*")} == before
    assert "report 2 acknowledged" in enrolled.run("report").out
    wait_s, failed = waits(enrolled)
    assert 135 <= wait_s <= 465
    assert failed == 0


def test_the_timers_look_imports_nothing_and_says_nothing(enrolled: Device) -> None:
    """As systemd starts it: the state directory comes from the unit."""
    enrolled.run("report")
    environ = {**os.environ, "STATE_DIRECTORY": str(enrolled.state)}
    command = [sys.executable, "-X", "importtime", "-m", "envcheck", "report", "--if-due"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "envcheck.commands.due" in imported
    assert not {"click", "msgspec", "requests", "yaml", "envcheck.cli", "envcheck.commands.report"} & imported


@pytest.fixture
def busy(enrolled: Device) -> Served:
    """Another server at the address where the device enrolled."""
    served = Served()
    state = State(enrolled.state)
    state.save("enrolled", msgspec.structs.replace(state.enrolled(), collector=served.url))
    return served


def waits(device: Device) -> tuple[int, int]:
    """For how long the device waits now, and how often it has failed."""
    _, _, wall, written, failed = (device.state / "due").read_text().split()
    return int(wall) - int(written), int(failed)


def test_a_collector_that_is_busy_is_asked_again_when_it_says(enrolled: Device, busy: Served) -> None:
    headers = {"Content-Type": "application/json", "Retry-After": "1800"}
    busy.says(status=503, headers=headers, body=encode(Problem(message="too much to write")))
    said = enrolled.run("report")
    assert (said.code, "too much to write" in said.err) == (4, True)
    assert len(busy.asked) == 1
    assert len(list((enrolled.state / "spool").iterdir())) == 1
    wait_s, failed = waits(enrolled)
    assert 1800 <= wait_s <= 2700
    assert failed == 1
    assert enrolled.run("report", "--if-due").out == ""
    busy.answers = lambda asked: Answer(
        200, encode(ReportAnswer(stored=digest(asked.body), next_report_s=60))
    )
    assert enrolled.run("report").code == 0
    assert waits(enrolled) == (60, 0)
    assert list((enrolled.state / "spool").iterdir()) == []
    busy.close()


def test_an_outage_is_waited_out_ever_longer_and_never_in_step(enrolled: Device, busy: Served) -> None:
    busy.close()
    waited = []
    for number in range(1, 8):
        assert enrolled.run("report").code == 4
        wait_s, failed = waits(enrolled)
        assert failed == number
        waited.append(wait_s)
    for wait_s, least in zip(waited, (60, 120, 240, 480, 900, 900, 900), strict=True):
        assert least <= wait_s <= least * 1.5


def test_who_is_refused_does_not_ask_every_minute(enrolled: Device, collector: Collector) -> None:
    collector.operate("device", "revoke", enrolled.name)
    assert enrolled.run("report").code == 2
    assert waits(enrolled)[1] == 1
    assert waits(enrolled)[0] >= 60


def test_a_state_directory_that_is_full_is_told_and_the_report_is_sent(
    enrolled: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("envcheck.commands.report.set_due", full)
    said = enrolled.run("report")
    assert (said.code, "No space left" in said.err) == (0, True)


def test_the_time_since_the_start_goes_on() -> None:
    first = due._since_boot()
    time.sleep(1.1)
    assert due._since_boot() > first
    assert due._boot()
