"""What devices and CI send that does not fit: told with its place, and never taken for more than it is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from support import builders
from support.collector import Device, evidence_of, make_bundle, refused, told

from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import Section, fingerprint_objects
from envcheck.contract.policy import Policy, Rule
from envcheck.contract.wire import BundleAnswer, FleetAnswer, ObjectAnswer, ReportAnswer
from envcheck.judge.policies import builtin_policy

HARDWARE, OTHER = "ab" * 16, "cd" * 16


def newer(document: bytes, **more: Any) -> bytes:
    """The same document as a newer envcheck of the same major version writes it."""
    fields = json.loads(document)
    kind, _, _ = fields["format"].rpartition("/")
    return canonical_json({**fields, "format": f"{kind}/1.99", **more})


def test_a_section_whose_bytes_are_others_is_not_kept(collector) -> None:
    device = collector.device()
    objects = fingerprint_objects(device.sections)[1]
    name, data = next(iter(objects.items()))
    other = data.replace(b"3.11", b"3.12") + b" "
    assert "do not have the digest" in refused(device.put_object(other, name), 400).message
    assert collector.services.store.stats()["objects"] == 0


def test_a_section_of_an_unknown_kind_is_kept_and_decides_nothing(collector) -> None:
    """A newer agent knows more than this collector: neither better nor worse for it."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    npu = Section(status="ok", shared={"model": "X1", "firmware": {"version": "7"}})
    device = collector.device("a", sections=builders.sections(npu=npu))
    device.report(evidence_of(device, bundle))
    assert device.report(evidence_of(device, bundle)).missing == []
    known = collector.device("b")
    known.report(evidence_of(known, bundle))
    kept = fingerprint_objects({"npu": npu})[1]
    section = next(data for data in kept.values() if b"X1" in data)
    assert collector.services.store.objects.get([digest(section)], "section")
    assert collector.holder("gate:read").gate().ready == 2
    for status in ("absent", "unreadable", "error", "skipped"):
        broken = Section(status=status, reason="no driver")
        device.sections = builders.sections(npu=broken)
        device.report(evidence_of(device, bundle))
        assert collector.holder("gate:read").gate().ready == 2


def test_a_section_of_an_unknown_kind_is_shown_as_unknown_and_no_rule_is_about_it(collector) -> None:
    bundle = make_bundle()
    ci = collector.holder("baseline:write")
    ci.push(bundle)
    device = collector.device(
        "a", sections=builders.sections(npu=Section(status="ok", shared={"model": "X1"}))
    )
    device.report(evidence_of(device, bundle))
    gate, store = collector.services.gate, collector.services.store
    held = gate._judgements.hold(store.releases.find("digits@1.0"))
    statement = store.devices.find("a").statement
    judged = gate.judged(held, store.reports.statements([statement]))
    told_of = [one for findings in judged.findings.values() for one in findings if one.path == "npu"]
    assert [(one.unknown, one.severity) for one in told_of] == [(True, "info")]
    known = collector.device("b")
    known.report(evidence_of(known, bundle))
    for query in ("", "?release=digits@1.0"):
        answer = told(collector.holder("gate:read").send("GET", f"/v1/devices{query}"), FleetAnswer)
        assert {one.device: one.unknown_sections for one in answer.devices} == {"a": ["npu"], "b": []}
    rule = Rule(path="npu.model", compare="equal", severity="block")
    policy = Policy(name="npu", rules=[rule], evidence="ignored")
    problem = refused(ci.release("digits@1.0", digest(bundle), policy), 400)
    assert "rules[0].path: 'npu.model'" in problem.message


def test_documents_of_a_newer_minor_version_are_read(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device()
    evidence = evidence_of(device, bundle)
    name, objects = fingerprint_objects(device.sections)
    measured = newer(encode(next(iter(evidence.values()))), later=[1])
    report = newer(encode(device.compose(evidence)), mood="good")
    path = f"/v1/devices/{device.name}/report"
    assert told(device.send("PUT", path, report), ReportAnswer).stored == digest(report)
    for data in [*objects.values(), measured]:
        assert told(device.put_object(data), ObjectAnswer).stored == digest(data)
    told(device.put_object(newer(objects[name], size=3)), ObjectAnswer)
    assert "newer" not in refused(device.send("PUT", path, report.replace(b"/1.99", b"/x")), 400).message
    problem = refused(device.send("PUT", path, report.replace(b"/1.99", b"/2.0")), 400)
    assert "version 2.0" in problem.message
    assert "upgrade" in problem.hint


@pytest.mark.parametrize("ahead", [60, 86400, 50 * 365 * 86400])
def test_a_report_from_the_future_is_as_old_as_its_delivery(collector, ahead: int) -> None:
    """Captured after it was signed, as its own clock says: the collector's time of receipt counts."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device()
    before = int(time.time())
    device.report(evidence_of(device, bundle), captured_at=device.now(ago=-ahead))
    row = collector.services.store.devices.find(device.name)
    assert before <= row.seen_at <= int(time.time())
    collector.ahead[0] = 24 * 3600 + 60
    assert collector.holder("gate:read").gate().groups[0].reason == "no report for more than 24 h"


def test_a_device_without_a_clock_reports_all_the_same(collector) -> None:
    """After every power cut it is 1970 again; numbers, not times, keep the order."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device(clock_error=-int(time.time()) + 100)
    device.report(evidence_of(device, bundle))
    for error in (-int(time.time()) + 50, -int(time.time()) + 20, 0, -int(time.time()) + 30):
        device.clock_error = error
        device.report(evidence_of(device, bundle))
        assert collector.holder("gate:read").gate().ready == 1


def older(device: Device, **fields: Any) -> Any:
    """A report with a number that was long used, signed now."""
    device.seq = 0
    device.clock_error += 5
    return device.put_report(device.compose(**fields))


@pytest.fixture
def counted(collector) -> Device:
    device = collector.device()
    for _ in range(3):
        device.report(hardware=HARDWARE)
    return device


def test_a_number_that_goes_back_on_the_same_hardware_is_a_re_image(collector, counted: Device) -> None:
    problem = refused(older(counted, hardware=HARDWARE), 409)
    assert "report 1 comes after report 3" in problem.message
    assert "re-image" in problem.message
    assert "enrol it anew" in problem.hint
    assert collector.services.store.devices.find(counted.name).state == "accepted"


def test_a_number_that_goes_back_on_other_hardware_is_a_clone(collector, counted: Device) -> None:
    assert "other hardware" in refused(older(counted, hardware=OTHER), 409).message
    assert collector.services.store.devices.find(counted.name).state == "quarantined"


def test_a_number_that_goes_back_on_unknown_hardware_may_be_either(collector, counted: Device) -> None:
    problem = refused(older(counted), 409)
    assert "set back to an older copy of itself, or another machine has its key" in problem.message
    assert collector.services.store.devices.find(counted.name).state == "accepted"


def test_a_report_that_comes_late_or_is_played_again_accuses_nobody(collector) -> None:
    """A recorded request of before the board was exchanged must not put the device aside."""
    device = collector.device()
    sent: list[Any] = []
    http = device.http
    send = http.request

    def record(method: str, url: str, **options: Any) -> Any:
        sent.append((method, url, options))
        return send(method, url, **options)

    http.request = record
    device.report(hardware=HARDWARE)
    recorded = sent[0]
    http.request = send
    device.put_report(device.compose(hardware=OTHER))
    collector.services.enrolment.accept(device.name)
    device.report(hardware=OTHER)
    method, url, options = recorded
    problem = refused(send(method, url, **options), 409)
    assert "late, or repeated" in problem.message
    assert collector.services.store.devices.find(device.name).state == "accepted"


@pytest.mark.parametrize(
    ("selector", "at"),
    [("site=berlin,,", 13), ("site in (a", 11), ("site berlin", 6), ("=a", 1), ("a=\x1b", 3)],
)
def test_a_selector_that_can_not_be_read_is_told_with_the_place(collector, selector: str, at: int) -> None:
    bundle = make_bundle()
    ci, gate = collector.holder("baseline:write"), collector.holder("gate:read")
    ci.push(bundle)
    for answer in (
        ci.release("digits@1.0", digest(bundle), selector=selector),
        gate.ask_gate(cohort=selector),
    ):
        assert f"character {at}:" in refused(answer, 400).message


def test_a_release_that_is_pushed_twice(collector) -> None:
    """The same bytes: fine. Other bytes: refused. Another policy or selector: a new revision."""
    bundle, other = make_bundle(), make_bundle(samples=7)
    ci = collector.holder("baseline:write")
    first = ci.push(bundle)
    assert ci.push(bundle) == first
    told(ci.send("PUT", f"/v1/bundles/{digest(other)}", other), BundleAnswer)
    problem = refused(ci.release("digits@1.0", digest(other)), 409)
    assert "another bundle" in problem.message
    assert "another version" in problem.hint
    assert ci.push(bundle, builtin_policy("strict")).revision == 2
    assert ci.push(bundle, builtin_policy("strict"), "site=berlin").revision == 3
    assert ci.push(bundle, builtin_policy("strict"), "site=berlin").revision == 3


def test_hostile_labels_never_get_as_far_as_a_row(collector) -> None:
    token = collector.token()
    for number, labels in enumerate(({"site": "\x1b[2J"}, {"a\nb": "c"}, {"<b>": "x"}, {"site": "x" * 64})):
        answer = Device(collector.http, f"d-{number}").ask_enrolment(token, labels=labels)
        assert "labels" in refused(answer, 400).message
    fleet = told(collector.holder("gate:read").send("GET", "/v1/devices"), FleetAnswer)
    assert fleet.devices == []
