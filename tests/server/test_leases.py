"""A fleet that changed alike uploads what changed about once, and nothing is waited for in vain."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support import builders
from support.collector import Device, evidence_of, make_bundle, told

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import fingerprint_objects
from envcheck.contract.wire import ObjectAnswer, ReportAnswer
from envcheck_server.service.leases import Leases

FLEET = 50


def ask(device: Device) -> list[str]:
    return told(device.put_report(device.compose()), ReportAnswer).missing


def test_of_fifty_devices_that_come_at_once_each_object_is_uploaded_once(collector) -> None:
    bundle = make_bundle()
    fleet = [collector.device(f"d-{number:02}") for number in range(FLEET)]
    sent: list[str] = []
    begin = threading.Barrier(FLEET)

    def upgraded(device: Device) -> None:
        evidence = evidence_of(device, bundle)
        objects = fingerprint_objects(device.sections)[1]
        objects |= {digest(encode(one)): encode(one) for one in evidence.values()}
        begin.wait()
        wanted = list(told(device.put_report(device.compose(evidence)), ReportAnswer).missing)
        while wanted:
            name = wanted.pop()
            sent.append(name)
            wanted += told(device.put_object(objects[name]), ObjectAnswer).missing

    with ThreadPoolExecutor(FLEET) as pool:
        list(pool.map(upgraded, fleet))
    everything = {*fingerprint_objects(fleet[0].sections)[1]}
    assert sorted(sent) == sorted({*sent}), "some object was asked for twice"
    assert everything < {*sent}
    assert len(sent) == len(everything) + 1
    assert ask(fleet[0]) == []


def test_when_the_one_that_was_asked_does_not_deliver_another_is_asked(collector) -> None:
    first, second = collector.device("a"), collector.device("b")
    missing = ask(first)
    assert missing == [first.fingerprint.digest]
    assert ask(second) == []
    assert ask(first) == missing, "it may go on where it broke off"
    collector.ahead[0] = 30
    assert ask(second) == []
    collector.ahead[0] = 60
    assert ask(second) == missing
    assert ask(first) == []
    second.report()
    assert ask(first) == []


def test_what_a_fingerprint_is_made_of_is_leased_as_well(collector) -> None:
    """Two kinds of devices that share most sections."""
    one = collector.device("a")
    other = collector.device("b", sections=builders.sections(cuda=builders.sections()["cpu"]))
    objects = {**fingerprint_objects(one.sections)[1], **fingerprint_objects(other.sections)[1]}
    sections = {
        device.name: told(device.put_object(objects[ask(device)[0]]), ObjectAnswer).missing
        for device in (one, other)
    }
    assert sections["a"]
    assert not {*sections["a"]} & {*sections["b"]}


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


def leases(hold_s: int = 60) -> tuple[Leases, Any]:
    clock = Clock()
    return Leases(clock, hold_s), clock


def test_one_that_never_delivers_is_not_asked_for_ever() -> None:
    """It reports more often than all others, so it would always come first when its turn has ended."""
    held, clock = leases()
    assert held.grant("bad", ["x"]) == ["x"]
    clock.now += 59
    assert held.grant("good", ["x"]) == []
    clock.now += 1
    assert held.grant("bad", ["x"]) == []
    clock.now += 10
    assert held.grant("good", ["x"]) == ["x"]


def test_one_that_is_alone_is_asked_again() -> None:
    held, clock = leases()
    for _ in range(3):
        assert held.grant("a", ["x"]) == ["x"]
        clock.now += 60
    held.grant("b", ["x"])
    clock.now += 60
    held.grant("a", ["x"])
    clock.now += 60
    assert held.grant("b", ["x"]) == ["x"]


def test_asking_again_does_not_lengthen_the_turn() -> None:
    held, clock = leases()
    for _ in range(6):
        assert held.grant("a", ["x"]) == ["x"]
        clock.now += 10
    assert held.grant("b", ["x"]) == ["x"]


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    held, clock = leases()
    held.grant("a", ["x"])
    clock.now -= 86400
    assert held.grant("b", ["x"]) == ["x"]


def test_no_more_is_remembered_than_fits(monkeypatch) -> None:
    monkeypatch.setattr("envcheck_server.service.leases._MOST", 100)
    held, _ = leases()
    for number in range(1000):
        held.grant("a", [f"x-{number}"])
    assert len(held._leases) == 100
    assert held.grant("b", ["x-999", "x-0"]) == ["x-0"]
