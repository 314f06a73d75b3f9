"""Enrol, report, deliver, release, gate: the collector's main job, in this process and in one of its own."""

from __future__ import annotations

import signal

import pytest
from support import builders
from support.collector import Device, Holder, evidence_of, make_bundle, refused, told

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import Section
from envcheck.contract.wire import BundleAnswer, FleetAnswer, ReleasesAnswer
from envcheck.errors import BadInput
from envcheck.judge.policies import builtin_policy


def test_a_healthy_fleet_passes_and_a_sick_device_is_named(collector) -> None:
    bundle = make_bundle()
    ci = collector.holder("baseline:write")
    ci.push(bundle, selector="line=press")
    for name in ("press-01", "press-02", "press-03"):
        device = collector.device(name, labels={"line": "press"})
        offered = device.report().releases
        assert [(one.release, one.sha256, one.size) for one in offered] == [
            ("digits@1.0", digest(bundle), len(bundle))
        ]
        device.report(evidence_of(device, bundle))
    sick = collector.device("press-09", labels={"line": "press"})
    sick.report(evidence_of(sick, bundle, outputs={"logits": builders.metrics(rmse=0.5, max_abs=3.0)}))
    other = collector.device("lab-01", labels={"line": "lab"})
    assert other.report().releases == []

    answer = collector.holder("gate:read").gate(cohort="line=press")
    assert (answer.total, answer.ready, answer.blocked, answer.unknown) == (4, 3, 1, 0)
    assert answer.outcome == "fail"
    assert [(one.outcome, one.count, one.devices) for one in answer.groups] == [
        ("pass", 3, ["press-01", "press-02", "press-03"]),
        ("fail", 1, ["press-09"]),
    ]
    assert answer.groups[1].path == "evidence.outputs.logits"
    lenient = collector.holder("gate:read").gate(cohort="line=press", min_ready=0.75)
    assert lenient.outcome == "pass"


def test_what_the_blocked_have_in_common_is_told(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle, builtin_policy("strict"))
    healthy = collector.device("a")
    healthy.report(evidence_of(healthy, bundle))
    packages = builders.sections()["packages"].shared
    old = {**packages, "onnxruntime": builders.package("1.19.2")}
    sick = collector.device("b", sections=builders.sections(packages=Section(status="ok", shared=old)))
    sick.report(evidence_of(sick, bundle))
    answer = collector.holder("gate:read").gate()
    assert answer.common == ["packages.onnxruntime.version is 1.19.2, not 1.32.0 (1 of 1; 0 of 1 ready)"]
    assert answer.groups[1].path == "packages.onnxruntime.version"


def test_everything_over_real_http_and_after_a_restart(process) -> None:
    process.start()
    token = process.token("enroll", "--uses", "1", "--label", "line=press")
    ci_token, gate_token = process.token("baseline:write"), process.token("gate:read")
    bundle = make_bundle()
    with process.client() as http:
        device = Device(http)
        assert device.enrol(token).labels == {"line": "press"}
        assert Holder(http, ci_token).push(bundle).revision == 1
        device.report()
        fetched = device.send("GET", f"/v1/bundles/{digest(bundle)}")
        assert fetched.content == bundle
        device.report(evidence_of(device, bundle))
        assert Holder(http, gate_token).gate().outcome == "pass"
    assert process.stop() == 0
    process.start()
    with process.client() as http:
        gate = Holder(http, gate_token)
        assert gate.gate().outcome == "pass"
        fleet = told(gate.send("GET", "/v1/devices?release=digits@1.0"), FleetAnswer)
        assert [(one.device, one.python, one.onnxruntime, one.outcome) for one in fleet.devices] == [
            ("press-07", "3.11.7", "1.32.0", "pass")
        ]
        device.http = http
        device.report(evidence_of(device, bundle))
        assert process.run("device", "revoke", "press-07").returncode == 0
        assert "revoked" in refused(device.put_report(device.compose()), 403).message
    assert process.stop(signal.SIGINT) == 130


def test_a_retired_release_is_offered_to_nobody_until_it_is_pushed_again(collector) -> None:
    ci, gate = collector.holder("baseline:write"), collector.holder("gate:read")
    bundle, newer = make_bundle(), make_bundle(version="2.0")
    ci.push(bundle)
    ci.push(newer)
    device = collector.device()
    assert {one.release for one in device.report().releases} == {"digits@1.0", "digits@2.0"}
    collector.services.releases.retire("digits@1.0")
    again = collector.services.releases.retire("digits@1.0")
    assert (again.revision, collector.services.store.stats()["revisions"]) == (1, 2)
    assert [one.release for one in device.report().releases] == ["digits@2.0"]
    problem = refused(gate.ask_gate("digits@1.0"), 409)
    assert "retired" in problem.message
    assert refused(gate.send("GET", "/v1/devices?release=digits@1.0"), 409).message
    assert gate.ask_gate("digits@2.0").status_code == 200
    listed = told(gate.send("GET", "/v1/releases"), ReleasesAnswer).releases
    assert {one.release: one.retired for one in listed} == {"digits@1.0": True, "digits@2.0": False}
    other = make_bundle(samples=7)
    told(ci.send("PUT", f"/v1/bundles/{digest(other)}", other), BundleAnswer)
    assert "another bundle" in refused(ci.release("digits@1.0", digest(other)), 409).message
    back = ci.push(bundle)
    assert (back.revision, back.retired) == (2, False)
    assert {one.release for one in device.report().releases} == {"digits@1.0", "digits@2.0"}
    assert gate.ask_gate("digits@1.0").status_code == 200
    with pytest.raises(BadInput, match=r"no release 'digits@9'"):
        collector.services.releases.retire("digits@9")


def test_releases_are_listed(collector) -> None:
    ci = collector.holder("baseline:write")
    bundle = make_bundle()
    first = ci.push(bundle)
    assert (first.revision, first.selector) == (1, "")
    assert ci.push(bundle) == first
    second = ci.push(bundle, selector="line=press")
    assert second.revision == 2
    third = ci.push(bundle, builtin_policy("strict"), "line=press")
    assert third.revision == 3
    assert third.policy == digest(encode(builtin_policy("strict")))
    assert told(ci.send("GET", "/v1/releases"), ReleasesAnswer).releases == [third]
