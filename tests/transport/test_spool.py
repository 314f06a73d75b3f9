"""The spool outlives power cuts and bad flash: at most the damaged report is lost, and it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envcheck.contract.wire import Report
from envcheck.errors import BadInput
from envcheck.transport.spool import KEPT, Spool


def report(seq: int, **changed: Any) -> Report:
    fields = {
        "epoch": 1,
        "captured_at": f"2026-01-01T00:00:{seq:02}Z",
        "fingerprint": f"{seq:064}",
        **changed,
    }
    return Report(seq=seq, **fields)


class Kept:
    def __init__(self, directory: Path) -> None:
        self.said: list[str] = []
        self.spool = Spool(directory, self.said.append)

    def numbers(self) -> list[int]:
        return [kept.seq for kept in self.spool.all()]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "spool")


def test_reports_come_back_as_they_were_in_order(kept: Kept) -> None:
    assert kept.numbers() == []
    for seq in (2, 10, 9, 1):
        kept.spool.put(report(seq, readings={"memory.available_mb": 512}))
    kept.spool.put(report(1, epoch=2))
    assert [(one.epoch, one.seq) for one in kept.spool.all()] == [(1, 1), (1, 2), (1, 9), (1, 10), (2, 1)]
    assert kept.spool.all()[0] == report(1, readings={"memory.available_mb": 512})


def test_a_delivered_report_is_forgotten(kept: Kept) -> None:
    kept.spool.put(report(1))
    kept.spool.put(report(2))
    kept.spool.drop(report(1))
    assert kept.numbers() == [2]


def test_the_newest_few_are_kept_and_the_loss_is_said(kept: Kept) -> None:
    for seq in range(1, KEPT + 3):
        kept.spool.put(report(seq))
    assert kept.numbers() == list(range(3, KEPT + 3))
    assert kept.said == [f"report {seq} was never delivered and gives way to newer ones" for seq in (1, 2)]


def test_a_device_that_does_not_change_keeps_one_report(kept: Kept) -> None:
    for seq in range(1, 50):
        kept.spool.put(report(seq, fingerprint="f" * 64, readings={"memory.available_mb": seq}))
    assert kept.numbers() == [49]
    assert kept.said == []


def test_every_byte_may_be_damaged_or_cut_off(kept: Kept) -> None:
    for seq in (1, 2, 3):
        kept.spool.put(report(seq))
    path = sorted(kept.spool.directory.iterdir())[1]
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            kept.said.clear()
            assert kept.numbers() == [1, 3]
            assert len(kept.said) == 1
            assert path.name in kept.said[0]
            assert not path.exists()
    path.write_bytes(whole)
    assert kept.numbers() == [1, 2, 3]


def test_a_power_cut_while_writing_leaves_the_old_reports(kept: Kept) -> None:
    kept.spool.put(report(1))
    (kept.spool.directory / ".0000000001-00000000000000000002.report.new").write_bytes(b"half a rep")
    assert kept.numbers() == [1]
    kept.spool.put(report(2))
    assert kept.numbers() == [1, 2]
    assert kept.said == []


def test_no_room_is_said_with_what_was_lost(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    kept.spool.put(report(1))
    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(BadInput, match=r"not delivered.*No space left"):
        kept.spool.put(report(2))
    monkeypatch.undo()
    assert kept.numbers() == [1]
