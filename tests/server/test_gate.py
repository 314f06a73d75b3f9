"""The gate: its formula, its groups, and that deciding in groups is deciding device by device."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import builders
from support.collector import MODEL, Device, evidence_of, make_bundle

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.evidence import Latency, SmokeReadings
from envcheck.contract.fingerprint import Section
from envcheck.contract.policy import Budget, Timing
from envcheck.contract.wire import GateQuestion, Result
from envcheck.judge.device_class import device_class
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy
from envcheck_server.service import judgements
from envcheck_server.service.gate import gate_outcome
from envcheck_server.service.services import make_services


def outcome(ready: int, blocked: int, unknown: int, **shares: float) -> str:
    return gate_outcome(ready, blocked, unknown, GateQuestion(release="a@1", **shares))


@pytest.mark.parametrize(
    ("counts", "shares", "expected"),
    [
        ((0, 0, 0), {}, "unknown"),
        ((0, 0, 0), {"min_ready": 0.0, "max_unknown": 1.0}, "unknown"),
        ((5, 0, 0), {}, "pass"),
        ((4, 1, 0), {}, "fail"),
        ((4, 0, 1), {}, "unknown"),
        ((412, 9, 3), {"min_ready": 0.95, "max_unknown": 0.01}, "pass"),
        ((412, 9, 5), {"min_ready": 0.95, "max_unknown": 0.01}, "unknown"),
        ((412, 30, 3), {"min_ready": 0.95, "max_unknown": 0.01}, "fail"),
        ((19, 1, 0), {"min_ready": 0.95}, "pass"),
        ((7, 93, 0), {"min_ready": 0.07}, "pass"),
        ((0, 10, 0), {"min_ready": 0.0}, "pass"),
        ((90, 5, 5), {"min_ready": 0.95}, "unknown"),
    ],
)
def test_the_formula(counts: tuple[int, int, int], shares: dict[str, float], expected: str) -> None:
    assert outcome(*counts, **shares) == expected


shares = st.floats(0, 1)
few = st.integers(0, 30)


@given(few, few, few, shares, shares)
def test_it_passes_only_what_both_shares_allow(
    ready: int, blocked: int, unknown: int, least: float, most: float
) -> None:
    total = ready + blocked + unknown
    found = outcome(ready, blocked, unknown, min_ready=least, max_unknown=most)
    if found == "pass":
        assert total
        assert ready / total >= least
        assert unknown / total <= most
    if found == "fail":
        assert (ready + unknown) / total < least, "no knowledge could have made it pass"


def test_no_devices_are_unknown(collector) -> None:
    collector.holder("baseline:write").push(make_bundle())
    answer = collector.holder("gate:read").gate(min_ready=0.0, max_unknown=1.0)
    assert (answer.outcome, answer.total, answer.groups) == ("unknown", 0, [])


def test_every_kind_of_silence_is_unknown(collector) -> None:
    """Pending, never reported, facts on their way, evidence missing or of another bundle or fingerprint."""
    bundle, other = make_bundle(), make_bundle(version="2.0")
    collector.holder("baseline:write").push(bundle)
    Device(collector.http, "pending").enrol(collector.token())
    collector.device("silent")
    facts = builders.sections(memory=Section(status="unreadable", reason="no permission"))
    unheard = collector.device("no-facts", sections=facts)
    unheard.put_report(unheard.compose())
    collector.device("no-evidence").report()
    wrong_bundle = collector.device("wrong-bundle")
    wrong_bundle.report({digest(bundle): builders.evidence(wrong_bundle.fingerprint, bundle=digest(other))})
    moved = collector.device("moved")
    evidence = evidence_of(moved, bundle)
    moved.report(evidence)
    moved.sections = builders.sections(system=Section(status="ok", shared={"machine": "aarch64"}))
    moved.report(evidence)
    unsent = collector.device("unsent", sections=builders.sections(python=Section(status="absent")))
    unsent.report()
    unsent.put_report(unsent.compose(evidence_of(unsent, bundle)))
    collector.device("revoked").report()
    collector.services.enrolment.revoke("revoked")

    answer = collector.holder("gate:read").gate(expect=["absent", "silent", "revoked"])
    assert (answer.outcome, answer.total, answer.unknown) == ("unknown", 9, 9)
    reasons = {device: group.reason for group in answer.groups for device in group.devices}
    assert reasons == {
        "pending": "it waits to be accepted",
        "silent": "it has never reported",
        "no-facts": "the device's facts are not known",
        "no-evidence": "the model was not run on this device",
        "wrong-bundle": "the evidence was measured with another bundle",
        "moved": "the environment changed since the model was run on it",
        "unsent": "the device's evidence has not arrived yet",
        "absent": "it is expected, but is not among these devices",
        "revoked": "it is expected, but is not among these devices",
    }
    assert all(group.hint for group in answer.groups)


def test_what_is_on_its_way_is_judged_anew_when_it_arrives(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device, gate = collector.device(), collector.holder("gate:read")
    evidence = evidence_of(device, bundle)
    device.put_report(device.compose(evidence))
    assert gate.gate().unknown == 1
    device.report(evidence)
    assert gate.gate().ready == 1


def test_findings_are_judged_once_and_another_policy_judges_anew(collector) -> None:
    bundle = make_bundle()
    ci, gate = collector.holder("baseline:write"), collector.holder("gate:read")
    ci.push(bundle)
    packages = {**builders.sections()["packages"].shared, "numpy": builders.package("1.26.4")}
    for number in range(6):
        changed = {"packages": Section(status="ok", shared=packages)} if number % 2 else {}
        device = collector.device(f"d-{number}", sections=builders.sections(**changed))
        device.report(evidence_of(device, bundle))
    kept = collector.services.store.stats
    assert gate.gate().outcome == "pass"
    assert kept()["findings"] == 2
    assert gate.gate().outcome == "pass"
    assert kept()["findings"] == 2
    ci.push(bundle, selector="line=press")
    assert gate.gate().outcome == "pass"
    assert kept()["findings"] == 2, "another selector changes no finding"
    ci.push(bundle, builtin_policy("strict"))
    assert gate.gate().blocked == 3
    assert kept()["findings"] == 4


def test_judge_runs_once_for_each_combination_whoever_asks(collector, store, settings, monkeypatch) -> None:
    """Also for another collector over the same database."""
    judged: list[tuple[str, str]] = []

    def note(reference: Any, device: Any, evidence: Any, policy: Any) -> Any:
        judged.append((device.digest, encode(evidence).decode()))
        return judge(reference, device, evidence, policy)

    monkeypatch.setattr(judgements, "judge", note)
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    packages = {**builders.sections()["packages"].shared, "rich": builders.package("14.0.0")}
    for number in range(8):
        changed = {"packages": Section(status="ok", shared=packages)} if number % 2 else {}
        device = collector.device(f"d-{number}", sections=builders.sections(**changed))
        device.report(evidence_of(device, bundle))
    gate = collector.holder("gate:read")
    assert gate.gate().ready == 8
    assert len(judged) == len({*judged}) == 2
    gate.gate()
    gate.send("GET", "/v1/devices?release=digits@1.0")
    other = make_services(settings, store)
    assert other.gate.answer(GateQuestion(release="digits@1.0")).ready == 8
    assert len(judged) == 2


def test_a_policy_without_evidence_judges_facts_alone(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle, builtin_policy("inventory"))
    collector.device().report()
    assert collector.holder("gate:read").gate().outcome == "pass"


def test_the_first_devices_of_many_are_named(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    for number in reversed(range(9)):
        device = collector.device(f"d-{number}", labels={"odd": str(number % 2)})
        device.report(evidence_of(device, bundle))
    answer = collector.holder("gate:read").gate(cohort="odd=1")
    assert [(one.count, one.devices) for one in answer.groups] == [(4, ["d-1", "d-3", "d-5", "d-7"])]
    answer = collector.holder("gate:read").gate()
    assert [(one.count, one.devices) for one in answer.groups] == [(9, [f"d-{n}" for n in range(5)])]


def test_the_cohort_is_what_the_operator_labelled(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    for name, labels in (("a", {"site": "berlin"}), ("b", {"site": "bonn"}), ("c", {})):
        device = collector.device(name, labels=labels)
        device.report(evidence_of(device, bundle))
    gate = collector.holder("gate:read")
    for cohort, count in (("site=berlin", 1), ("site in (berlin,bonn)", 2), ("!site", 1), ("site!=bonn", 2)):
        assert gate.gate(cohort=cohort).ready == count, cohort
    collector.services.enrolment.label("c", {"site": "berlin"})
    assert gate.gate(cohort="site=berlin").ready == 2


def test_a_device_that_comes_back_meanwhile_does_not_speak_for_the_silent(collector, monkeypatch) -> None:
    """The gate decides for the first of each group: it must be as it was when the group was counted."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    devices = [collector.device(name) for name in ("a", "b", "c")]
    for device in devices:
        device.report(evidence_of(device, bundle))
    collector.ahead[0] = 25 * 3600
    reports = collector.services.store.reports
    statements, back = reports.statements, iter(devices[:1])

    def meanwhile(ids: Any) -> Any:
        for device in back:
            assert device.put_report(device.compose(evidence_of(device, bundle))).status_code == 200
        return statements(ids)

    monkeypatch.setattr(reports, "statements", meanwhile)
    ask = collector.holder("gate:read")
    assert ask.gate(min_ready=0.5, max_unknown=1.0).ready == 0
    assert ask.gate(min_ready=0.5, max_unknown=1.0).ready == 1


def test_one_moment_counts_however_long_the_gate_takes(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    for name in ("a", "b"):
        device = collector.device(name)
        device.report(evidence_of(device, bundle))
    now = collector.services.store.devices.find("a").seen_at + 24 * 3600
    ticking = iter(range(now, now + 100))
    collector.services.gate._clock = lambda: next(ticking)
    assert collector.holder("gate:read").gate().ready == 2


def test_a_collectors_clock_that_went_back_keeps_nobody_fresh(collector) -> None:
    """Its clock ran a year ahead and was set right: silent devices must not stay ready for a year."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    collector.ahead[0] = 365 * 86400
    devices = [collector.device(name) for name in ("a", "b")]
    for device in devices:
        device.report(evidence_of(device, bundle))
    ask = collector.holder("gate:read")
    assert ask.gate().ready == 2
    collector.ahead[0] -= 60
    assert ask.gate().ready == 2, "a small correction makes nothing doubtful"
    collector.ahead[0] = 0
    answer = ask.gate()
    assert (answer.ready, answer.unknown) == (0, 2)
    assert "yet to come" in answer.groups[0].reason
    devices[0].report(evidence_of(devices[0], bundle))
    assert ask.gate().ready == 1


BUDGET = Budget(p50_ms=5.0, p90_ms=8.0, peak_memory_mb=100.0)
figures = st.none() | st.sampled_from([1.0, 4.9, 5.0, 5.1, 7.9, 8.1, 50.0, 99.0, 101.0])
latencies = st.none() | st.builds(
    Latency,
    runs=st.just(64),
    min_ms=st.just(0.5),
    p50_ms=figures.filter(lambda one: one is not None),
    p90_ms=figures,
)
results = st.builds(
    Result,
    evidence=st.just(""),
    measured_at=st.just("2026-01-01T00:00:00Z"),
    latency=latencies,
    peak_memory_mb=figures,
    throttled=st.sampled_from([None, False, True]),
)
fleets = st.lists(
    st.tuples(
        st.sampled_from(["same", "old", "none"]), results, st.sampled_from([0, 3599, 3600, 3601, 7200])
    ),
    min_size=1,
    max_size=12,
)


CLASS = device_class(builders.shared())
HELD: dict[str, dict[str, Any]] = {
    "none": {},
    "all": {"budget": BUDGET},
    "one": {"budget": Budget(p90_ms=8.0)},
    "classes": {"budget": BUDGET, "budgets": {CLASS: Budget(p50_ms=50.0), "another": Budget(p90_ms=49.0)}},
    "throughput": {"budget": Budget(throughput=1000 * 180 / 5.0)},
    "timing": {"timing": Timing(factor=2.0, severity="block")},
}
# The others differ from these in numbers; CI asks all.
EVERY_DAY = ("none", "classes", "timing")


@pytest.mark.parametrize(
    "stated",
    [pytest.param(held, marks=[] if name in EVERY_DAY else pytest.mark.slow) for name, held in HELD.items()],
    ids=HELD,
)
def test_deciding_in_groups_is_deciding_device_by_device(collector, stated: dict[str, Any]) -> None:
    """The gate groups in SQL by what `decide` needs; the fleet table decides for every single device."""
    timed = SmokeReadings(latency=Latency(runs=64, min_ms=2.0, p50_ms=2.5))
    bundle = make_bundle(timings={CLASS: timed})
    name = digest(bundle)
    policy = msgspec.structs.replace(builtin_policy("default"), max_age=3600, **stated)
    collector.holder("baseline:write").push(bundle, policy)
    collector.services.gate._clock = collector.services.fleet._gate._clock = lambda: int(time.time())
    devices = [collector.device(f"d-{number:02}") for number in range(12)]
    healthy = evidence_of(devices[0], bundle)[name]
    sick = builders.evidence(devices[0].fingerprint, bundle=name, outputs={})
    devices[0].report({name: healthy})
    devices[0].report({name: sick})
    kinds: dict[str, Any] = {"same": healthy, "old": sick}
    gate = collector.holder("gate:read")
    now = int(time.time())
    collector.services.gate._clock = collector.services.fleet._gate._clock = lambda: now
    collector.services.reports._clock = lambda: now

    @given(fleets)
    @settings(suppress_health_check=[HealthCheck.too_slow])
    def compare(fleet) -> None:
        for device in devices[len(fleet) :]:
            device.put_report(device.compose())
        for device, (kind, result, ago) in zip(devices, fleet, strict=False):
            stated = {}
            if kind in kinds:
                stated[name] = msgspec.structs.replace(result, evidence=digest(encode(kinds[kind])))
            answer = device.put_report(device.compose(results=stated, captured_at=device.now(ago=ago)))
            assert answer.status_code == 200
        grouped = gate.gate()
        single = collector.services.fleet.page(release="digits@1.0").devices
        for outcome, count in (
            ("pass", grouped.ready),
            ("fail", grouped.blocked),
            ("unknown", grouped.unknown),
        ):
            assert sum(one.outcome == outcome for one in single) == count
        for group in grouped.groups:
            rows = [one for one in single if one.device in group.devices]
            assert {one.outcome for one in rows} == {group.outcome}

    compare()


def test_another_deployed_model_blocks_and_one_that_cannot_be_read_is_unknown(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    released = digest(MODEL)
    for name, told in {
        "none": {},
        "released": {"model": released},
        "another": {"model": "0" * 64},
        "unread": {"model": "unreadable"},
        "odd": {"model": 7},
    }.items():
        device = collector.device(name)
        device.report(evidence_of(device, bundle), readings=told)
    answer = collector.holder("gate:read").gate()
    groups = {device: group for group in answer.groups for device in group.devices}
    assert {name: group.outcome for name, group in groups.items()} == {
        "none": "pass",
        "released": "pass",
        "another": "fail",
        "unread": "unknown",
        "odd": "unknown",
    }
    assert "another model file" in groups["another"].cause
    assert groups["unread"].hint
    single = collector.services.fleet.page(release="digits@1.0").devices
    assert {one.device: one.outcome for one in single} == {
        name: group.outcome for name, group in groups.items()
    }
