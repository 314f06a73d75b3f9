"""Delivering: kept reports first, each object once, and nothing is lost that was not acknowledged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.wire import ObjectAnswer, Problem, Report, ReportAnswer
from envcheck.errors import Unreachable
from envcheck.transport.exchange import Exchange
from envcheck.transport.files import seal
from envcheck.transport.link import Link, Refused
from envcheck.transport.spool import Spool

OBJECTS = {digest(data): data for data in (b"digests", b"section one", b"section two")}
FIRST, SECOND, THIRD = OBJECTS


def report(seq: int) -> Report:
    return Report(epoch=1, seq=seq, captured_at="2026-01-01T00:00:00Z", fingerprint=f"{seq:064}")


class Fleet:
    """A server that stores reports and wants objects, as a test needs it."""

    def __init__(self, served: Any, answer: Any, directory: Path) -> None:
        self.served, self.answer = served, answer
        self.wants: dict[str, list[str]] = {"report": []}
        self.refuses: dict[int, int] = {}
        self.up = True
        self.said: list[str] = []
        self.spool = Spool(directory / "spool", self.said.append)
        self.exchange = Exchange(Link(served.url), "press-07", self.spool, self.said.append)
        served.answers = self._answer

    def _answer(self, asked: Any) -> Any:
        if not self.up:
            return self.answer(200, b"<html>log in</html>", {"Content-Type": "text/html"})
        if asked.path.startswith("/v1/objects/"):
            name = asked.path.rpartition("/")[2]
            return self.answer(200, encode(ObjectAnswer(stored=name, missing=self.wants.get(name, []))))
        seq = decode(asked.body, Report, "test").seq
        if seq in self.refuses:
            return self.answer(self.refuses[seq], encode(Problem(message=f"no to {seq}")))
        return self.answer(200, encode(ReportAnswer(stored=digest(asked.body), missing=self.wants["report"])))

    def kept(self) -> list[int]:
        return [one.seq for one in self.spool.all()]

    def heard(self) -> list[str]:
        return [
            f"report {decode(asked.body, Report, 'test').seq}"
            if "devices" in asked.path
            else asked.path[-64:]
            for asked in self.served.asked
        ]


@pytest.fixture
def fleet(served: Any, answer: Any, tmp_path: Path) -> Fleet:
    return Fleet(served, answer, tmp_path)


def test_a_kept_report_is_sent_as_it_was_composed_by_an_older_envcheck(fleet: Fleet) -> None:
    """Its answer may have been lost: other bytes under its number would look like a clone."""
    composed = encode(report(1)).replace(b"report/1.0", b"report/1.1").replace(b"{", b'{"later":1,', 1)
    fleet.spool.put(report(1))
    kept = next(fleet.spool.directory.iterdir())
    kept.write_bytes(seal(composed))
    fleet.exchange.deliver(report(2), OBJECTS)
    assert fleet.served.asked[0].body == composed
    assert fleet.kept() == []


def test_what_is_missing_follows_and_what_that_misses(fleet: Fleet) -> None:
    fleet.wants = {"report": [FIRST, "e" * 64], FIRST: [SECOND, THIRD, FIRST], SECOND: [THIRD]}
    fleet.exchange.deliver(report(1), OBJECTS)
    assert fleet.heard()[:2] == ["report 1", FIRST]
    assert sorted(fleet.heard()[2:]) == sorted([SECOND, THIRD])


def test_an_undelivered_report_is_kept_and_goes_first(fleet: Fleet) -> None:
    fleet.up = False
    for seq in (1, 2):
        with pytest.raises(Unreachable, match="text/html") as caught:
            fleet.exchange.deliver(report(seq), OBJECTS)
        assert "the report is kept" in caught.value.hint
    assert fleet.kept() == [1, 2]
    fleet.up = True
    fleet.served.asked.clear()
    fleet.exchange.deliver(report(3), OBJECTS)
    assert fleet.heard() == ["report 1", "report 2", "report 3"]
    assert fleet.kept() == []


def test_a_kept_report_that_is_never_wanted_does_not_block_the_way(fleet: Fleet) -> None:
    fleet.spool.put(report(1))
    fleet.refuses = {1: 409}
    fleet.exchange.deliver(report(2), OBJECTS)
    assert fleet.kept() == []
    assert "no to 1" in fleet.said[0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_device_that_may_not_speak_now_keeps_what_it_had(fleet: Fleet, status: int) -> None:
    fleet.spool.put(report(1))
    fleet.refuses = {1: status, 2: status}
    with pytest.raises(Refused, match="no to 1"):
        fleet.exchange.deliver(report(2), OBJECTS)
    assert fleet.kept() == [1]


def test_a_report_stays_acknowledged_when_an_object_is_refused(fleet: Fleet, served: Any) -> None:
    fleet.wants = {"report": [FIRST]}
    answers = served.answers
    served.answers = lambda asked: (
        fleet.answer(413, encode(Problem(message="too large"))) if "objects" in asked.path else answers(asked)
    )
    assert fleet.exchange.deliver(report(1), OBJECTS).missing == [FIRST]
    assert "too large" in fleet.said[0]
    assert fleet.kept() == []


@pytest.mark.slow
def test_a_power_cut_at_any_byte_of_the_spool_loses_at_most_that_report(fleet: Fleet) -> None:
    """The next run starts, delivers the others and its own, and says what is lost."""
    for seq in (1, 2):
        fleet.spool.put(report(seq))
    whole = {path: path.read_bytes() for path in sorted(fleet.spool.directory.iterdir())}
    first, data = next(iter(whole.items()))
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            for path, kept in whole.items():
                path.write_bytes(kept)
            first.write_bytes(damaged)
            fleet.served.asked.clear()
            fleet.said.clear()
            fleet.exchange.deliver(report(3), {})
            assert fleet.heard() == ["report 2", "report 3"], at
            assert sum("is lost" in said and first.name in said for said in fleet.said) == 1, at
            assert fleet.kept() == []
