"""Reports: counted once, never after a later one, and not before they are on the disk."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import builders
from support.collector import Device, evidence_of, make_bundle, refused, told

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.wire import ObjectAnswer, ReportAnswer
from envcheck_server.store.values import report_name


def test_the_answer_echoes_what_was_stored_and_asks_for_what_is_missing(collector) -> None:
    device = collector.device()
    bundle = make_bundle()
    evidence = evidence_of(device, bundle)
    report = device.compose(evidence)
    answer = told(device.put_report(report), ReportAnswer)
    measured = digest(encode(evidence[digest(bundle)]))
    assert answer.stored == digest(encode(report))
    assert answer.missing == sorted([device.fingerprint.digest, measured])
    assert 135 <= answer.next_report_s <= 465
    assert device.report(evidence).missing == answer.missing
    assert device.report(evidence).missing == []


def test_the_same_bytes_again_are_answered_the_same(collector) -> None:
    device = collector.device()
    report = device.compose()
    first = told(device.put_report(report), ReportAnswer)
    assert told(device.put_report(report), ReportAnswer) == first
    row = collector.services.store.devices.find("press-07")
    assert (row.seq, row.report) == (1, report_name(digest(encode(report))))


def test_a_hundred_resends_at_once_are_one_row_and_one_answer(collector) -> None:
    device = collector.device()
    report = device.compose()
    ready = threading.Barrier(100)

    def resend(_: int) -> bytes:
        ready.wait(60)
        answer = device.put_report(report)
        assert answer.status_code == 200, answer.text
        content: bytes = answer.content
        return content

    with ThreadPoolExecutor(100) as pool:
        answers = set(pool.map(resend, range(100)))
    assert len(answers) == 1
    assert collector.services.store.stats()["changes"] == 1
    row = collector.services.store.devices.find(device.name)
    assert (row.seq, row.report) == (report.seq, report_name(digest(encode(report))))


def test_reports_in_any_order_count_once_and_never_after_a_later_one(collector) -> None:
    """A network that repeats and reorders: whatever comes when, the last one is what is kept."""
    for turn in range(10):
        device, lot = collector.device(f"d-{turn}"), random.Random(turn)
        reports = [device.compose() for _ in range(4)]
        sent = reports * 3
        lot.shuffle(sent)
        highest, answers = 0, {}
        for report in sent:
            answer = device.put_report(report)
            assert answer.status_code == (200 if report.seq >= highest else 409), answer.text
            highest = max(highest, report.seq)
            if answer.status_code == 200:
                assert answers.setdefault(report.seq, answer.content) == answer.content
        row = collector.services.store.devices.find(device.name)
        assert (row.seq, row.report) == (4, report_name(digest(encode(reports[-1]))))


def test_what_comes_late_or_forked_is_refused(collector) -> None:
    device = collector.device()
    first, second = device.compose(), device.compose()
    told(device.put_report(second), ReportAnswer)
    problem = refused(device.put_report(first), 409)
    assert "report 1 comes after report 2" in problem.message
    assert "epoch 7" in refused(device.put_report(device.compose(epoch=7)), 409).message
    device.seq = 1
    other = device.compose(readings={"memory.available_mb": 1})
    assert "another report 2" in refused(device.put_report(other), 409).message
    assert collector.services.store.devices.find("press-07").report == report_name(digest(encode(second)))


def test_two_machines_with_one_key_are_set_aside_both(collector) -> None:
    """Their numbers fork: one image was written to two cards."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    one = collector.device()
    one.report(evidence_of(one, bundle))
    other = Device(collector.http, one.name, pem=one.pem, seq=one.seq)
    assert collector.holder("gate:read").gate().outcome == "pass"
    one.report(evidence_of(one, bundle))
    assert "quarantine" in refused(other.put_report(other.compose()), 409).message
    for machine in (one, other):
        assert "two machines" in refused(machine.put_report(machine.compose()), 403).message
    answer = collector.holder("gate:read").gate()
    assert (answer.outcome, answer.unknown) == ("unknown", 1)
    assert "device accept" in answer.groups[0].hint


def test_two_devices_of_one_kind_deliver_their_objects_once(collector) -> None:
    bundle = make_bundle()
    one, other = collector.device("a"), collector.device("b")
    assert one.report(evidence_of(one, bundle)).missing
    assert other.report(evidence_of(other, bundle)).missing == []
    stats = collector.services.store.stats()
    assert (stats["statements"], stats["devices"]) == (1, 2)


def test_history_is_written_only_when_something_changed(collector) -> None:
    device = collector.device()
    for _ in range(3):
        device.report()
    assert collector.services.store.stats()["changes"] == 1
    device.sections = builders.sections(cuda=builders.sections()["cpu"])
    device.report()
    assert collector.services.store.stats()["changes"] == 2


@pytest.mark.parametrize("error", [0, 3600 * 24 * 365 * 56 * -1, 3600 * 24 * 400, -90])
def test_a_device_with_a_wrong_clock_is_not_locked_out(collector, error: int) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device(clock_error=error)
    device.report(evidence_of(device, bundle))
    assert device.send("GET", f"/v1/bundles/{digest(bundle)}").content == bundle
    gate = collector.holder("gate:read")
    assert gate.gate().outcome == "pass"
    # How old its report is, is known however wrong the clock.
    collector.ahead[0] = 23 * 3600
    assert gate.gate().outcome == "pass"
    collector.ahead[0] = 25 * 3600
    assert gate.gate().groups[0].reason == "no report for more than 24 h"


def test_an_old_capture_delivered_late_is_old(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device()
    device.report(evidence_of(device, bundle), captured_at=device.now(ago=25 * 3600))
    assert collector.holder("gate:read").gate().groups[0].reason == "no report for more than 24 h"


def test_an_old_signature_opens_nothing(collector) -> None:
    device = collector.device()
    device.report()
    device.clock_error = -2 * 3600
    problem = refused(device.send("GET", f"/v1/bundles/{'a' * 64}"), 401)
    assert "too far from now" in problem.message
    # A report tells how wrong the clock is.
    device.report()
    assert refused(device.send("GET", f"/v1/bundles/{'a' * 64}"), 404).message


def test_reports_wait_for_the_disk_and_are_turned_away_when_too_many_wait(collector) -> None:
    """The writer is held up: nothing is acknowledged meanwhile, and beyond the queue devices come again."""
    devices = [collector.device(f"d-{number}") for number in range(8)]
    writer = collector.services.writer
    writer._capacity = 5
    held, entered = threading.Event(), threading.Event()
    receive = writer._receive

    def slow(batch):
        entered.set()
        assert held.wait(20)
        return receive(batch)

    writer._receive = slow
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(devices[0].put_report, devices[0].compose())
        assert entered.wait(20)
        rest = [pool.submit(one.put_report, one.compose()) for one in devices[1:]]
        while len(writer) < 5 or sum(one.done() for one in rest) < 2:
            assert not first.done()
        held.set()
        answers = [one.result() for one in (first, *rest)]
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * 6 + [503] * 2
    turned_away = next(answer for answer in answers if answer.status_code == 503)
    assert int(turned_away.headers["Retry-After"]) > 0


def test_an_interrupted_upload_goes_on_where_it_stopped(collector) -> None:
    device = collector.device()
    answer = told(device.put_report(device.compose()), ReportAnswer)
    assert answer.missing == [device.fingerprint.digest]
    from envcheck.contract.fingerprint import fingerprint_objects

    name, objects = fingerprint_objects(device.sections)
    sections = told(device.put_object(objects[name]), ObjectAnswer).missing
    assert set(sections) == set(objects) - {name}
    told(device.put_object(objects[sections[0]], packed=True), ObjectAnswer)
    # The device went away; the next report is told what is still missing.
    assert set(told(device.put_report(device.compose()), ReportAnswer).missing) == set(sections[1:])
