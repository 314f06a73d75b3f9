"""What decide makes of findings, age, budgets and waivers."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.evidence import Latency
from envcheck.contract.policy import Budget
from envcheck.contract.verdict import Finding, Verdict, Waiver
from envcheck.contract.wire import Result
from envcheck.errors import BadInput
from envcheck.judge.decide import DeviceReadings, decide, parse_age, parse_time
from envcheck.judge.policies import builtin_policy

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)
POLICY = builtin_policy("default")
BLOCK = Finding(rule="r", path="packages.numpy.version", severity="block", message="differs")
UNKNOWN = Finding(rule="r", path="evidence", severity="block", message="missing", unknown=True)
WARN = Finding(rule="r", path="cpu.isa", severity="warn", message="lacks")


def decided(*findings: Finding, **changed: Any) -> Verdict:
    values: dict[str, Any] = {
        "readings": DeviceReadings(seen_at=NOW - timedelta(hours=1)),
        "labels": {"site": "berlin"},
        "waivers": [],
        "policy": POLICY,
        "now": NOW,
        "release": "digits@1.0",
        **changed,
    }
    return decide(findings, **values)


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ((), "pass"),
        ((WARN,), "pass"),
        ((BLOCK,), "fail"),
        ((UNKNOWN,), "unknown"),
        ((WARN, UNKNOWN), "unknown"),
        ((UNKNOWN, BLOCK), "fail"),
        ((msgspec.structs.replace(WARN, unknown=True),), "pass"),
    ],
)
def test_the_outcome(findings: tuple[Finding, ...], outcome: str) -> None:
    assert decided(*findings).outcome == outcome


@given(st.lists(st.sampled_from([BLOCK, UNKNOWN, WARN])))
def test_more_findings_never_make_it_better(findings: list[Finding]) -> None:
    order = ["pass", "unknown", "fail"]
    for count in range(len(findings)):
        before = order.index(decided(*findings[:count]).outcome)
        assert order.index(decided(*findings[: count + 1]).outcome) >= before


def test_an_old_report_is_unknown() -> None:
    old = DeviceReadings(seen_at=NOW - timedelta(hours=25))
    assert decided(readings=old).outcome == "unknown"
    assert decided(readings=old, max_age_s=26 * 3600).outcome == "pass"
    assert decided(readings=old).findings[0].message == "no report for more than 24 h"


class TestBudget:
    policy = msgspec.structs.replace(POLICY, budget=Budget(p50_ms=10, peak_memory_mb=100))

    def decided(self, **result: Any) -> Verdict:
        measured = Result(evidence="e" * 64, measured_at="2026-06-01T11:00:00Z", **result)
        return decided(readings=DeviceReadings(seen_at=NOW, result=measured), policy=self.policy)

    def test_within_it_passes(self) -> None:
        latency = Latency(runs=64, min_ms=1, p50_ms=9)
        assert self.decided(latency=latency, peak_memory_mb=90.0).outcome == "pass"

    def test_beyond_it_fails(self) -> None:
        verdict = self.decided(latency=Latency(runs=64, min_ms=1, p50_ms=12), peak_memory_mb=90.0)
        assert verdict.outcome == "fail"
        assert verdict.findings[0].message == "latency p50 12 ms, budget 10 ms"

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
    def test_what_is_no_measurement_is_unknown(self, number: float) -> None:
        latency = Latency(runs=64, min_ms=1, p50_ms=number)
        assert self.decided(latency=latency, peak_memory_mb=90.0).outcome == "unknown"
        latency = Latency(runs=64, min_ms=1, p50_ms=9)
        assert self.decided(latency=latency, peak_memory_mb=number).outcome == "unknown"

    def test_too_few_runs_for_a_percentile_say_so(self) -> None:
        policy = msgspec.structs.replace(POLICY, budget=Budget(p90_ms=10))
        measured = Result(
            evidence="e" * 64,
            measured_at="2026-06-01T11:00:00Z",
            latency=Latency(runs=10, min_ms=1, p50_ms=9),
        )
        (finding,) = decided(readings=DeviceReadings(result=measured), policy=policy).findings
        assert finding.message == "latency p90 was not measured: 10 runs are too few for it"
        assert "--quick" in finding.hint

    def test_a_throttled_timing_is_neither_pass_nor_fail(self) -> None:
        latency = Latency(runs=64, min_ms=1, p50_ms=12)
        assert self.decided(latency=latency, peak_memory_mb=90.0, throttled=True).outcome == "unknown"

    def test_what_was_not_measured_is_unknown(self) -> None:
        assert self.decided(peak_memory_mb=90.0).outcome == "unknown"
        assert decided(policy=self.policy).outcome == "unknown"


class TestWaivers:
    waiver = Waiver(
        name="w", path="packages.*", selector="site=berlin", expires_at="2026-07-01T00:00:00Z", reason="known"
    )

    def test_a_waived_finding_does_not_block_and_is_told(self) -> None:
        verdict = decided(BLOCK, waivers=[self.waiver])
        assert (verdict.outcome, verdict.waived, verdict.findings) == ("pass", [BLOCK], [])

    def test_it_holds_for_its_selector_path_and_time_only(self) -> None:
        assert decided(BLOCK, waivers=[self.waiver], labels={"site": "oslo"}).outcome == "fail"
        assert decided(BLOCK, waivers=[self.waiver], now=NOW + timedelta(days=60)).outcome == "fail"
        other = msgspec.structs.replace(self.waiver, path="python.version")
        assert decided(BLOCK, waivers=[other]).outcome == "fail"

    @pytest.mark.parametrize(
        "path",
        ["evidence", "packages", "report", "readings.p90_ms", "fingerprint", "evidence.outputs.logits"],
    )
    def test_what_could_not_be_determined_is_not_waived(self, path: str) -> None:
        unknown = Finding(rule="r", path=path, severity="block", message="?", unknown=True)
        for waived in (path, "*", "evidence", "readings"):
            verdict = decided(unknown, waivers=[msgspec.structs.replace(self.waiver, path=waived)])
            assert (verdict.outcome, verdict.waived) == ("unknown", [])

    @pytest.mark.parametrize("path", ["evidence.ending", "evidence", "evidence.*", "*", "*.*"])
    def test_a_model_that_did_not_run_is_not_waived(self, path: str) -> None:
        """Nothing of its outputs was looked at: what is left of the findings would be no verdict."""
        crash = Finding(rule="evidence.ending", path="evidence.ending", severity="block", message="crashed")
        waiver = msgspec.structs.replace(self.waiver, path=path)
        assert decided(crash, waivers=[waiver]).outcome == "fail"

    @pytest.mark.parametrize(
        "path", ["*", "*.numpy.version", "packages.*.version.x", "", "python", "package"]
    )
    def test_it_names_what_it_is_about(self, path: str) -> None:
        waiver = msgspec.structs.replace(self.waiver, path=path)
        assert decided(BLOCK, waivers=[waiver]).outcome == "fail"

    def test_packages_do_not_stand_for_evidence(self) -> None:
        off = Finding(rule="r", path="evidence.outputs.packages", severity="block", message="off")
        assert decided(off, waivers=[self.waiver]).outcome == "fail"

    def test_it_ends_at_its_time(self) -> None:
        for expires, outcome in ((NOW, "fail"), (NOW + timedelta(seconds=1), "pass")):
            waiver = msgspec.structs.replace(self.waiver, expires_at=expires.isoformat())
            assert decided(BLOCK, waivers=[waiver]).outcome == outcome


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), (7, 7), ("15m", 900), ("24h", 86400), ("2 d", 172800)]
)
def test_ages(text: str | int, seconds: int) -> None:
    assert parse_age(text, "x") == seconds


@given(st.text(max_size=20))
def test_age_and_time_never_raise_anything_but_bad_input(text: str) -> None:
    for parse in (parse_age, parse_time):
        with contextlib.suppress(BadInput):
            parse(text, "x")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_beyond_all_time_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="is not a time"):
        parse_time(text, "x")
