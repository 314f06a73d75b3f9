"""The paragraph "Evidence outranks inventory", sentence by sentence, with the verdict of each policy."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import evidence, metrics, package, reference, shared

from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import Section, SharedFingerprint
from envcheck.contract.verdict import Verdict
from envcheck.judge.decide import DeviceReadings, decide
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy
from envcheck.judge.terms import terms_of

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
OFF = {"logits": metrics(rmse=0.2, max_abs=2.0)}
VERSIONS = {"numpy": "2.4.6", "onnxruntime": "1.32.0", "rich": "15.0.0"}


def with_packages(**versions: str) -> SharedFingerprint:
    told = {name: package(version) for name, version in {**VERSIONS, **versions}.items()}
    return shared(packages=Section(status="ok", shared=told))


def verdict(policy: str, device: SharedFingerprint, measured: Evidence | None) -> Verdict:
    rules = builtin_policy(policy)
    return decide(
        judge(reference(), device, measured, rules),
        DeviceReadings(),
        {},
        (),
        rules,
        NOW,
        release="digits@1.0",
        terms=terms_of(rules, reference(), device, measured),
    )


@pytest.mark.parametrize("name", ["numpy", "onnxruntime"])
class TestDefault:
    def test_a_differing_package_warns_when_evidence_is_inside_the_floor(self, name: str) -> None:
        device = with_packages(**{name: "1.0"})
        said = verdict("default", device, evidence(device))
        (finding,) = said.findings
        assert (said.outcome, finding.severity) == ("pass", "warn")
        assert finding.impact == "outputs are unaffected by it"

    def test_it_is_unknown_when_evidence_is_missing(self, name: str) -> None:
        device = with_packages(**{name: "1.0"})
        assert verdict("default", device, None).outcome == "unknown"

    def test_it_fails_when_evidence_is_outside_of_the_floor(self, name: str) -> None:
        device = with_packages(**{name: "1.0"})
        assert verdict("default", device, evidence(device, outputs=OFF)).outcome == "fail"


@pytest.mark.parametrize("name", ["numpy", "onnxruntime"])
@pytest.mark.parametrize("good", [True, False])
def test_under_strict_every_required_difference_blocks(name: str, good: bool) -> None:
    device = with_packages(**{name: "1.0"})
    measured = evidence(device) if good else evidence(device, outputs=OFF)
    said = verdict("strict", device, measured)
    assert said.outcome == "fail"
    assert f"packages.{name}.version" in {one.path for one in said.findings if one.severity == "block"}


def test_under_strict_missing_evidence_is_no_pass() -> None:
    assert verdict("strict", with_packages(), None).outcome == "unknown"


@given(st.sampled_from([None, "good", "off", "other", "earlier"]))
def test_under_inventory_facts_alone_are_judged(kind: str | None) -> None:
    kinds: dict[str | None, dict[str, Any]] = {
        "good": {},
        "off": {"outputs": OFF},
        "other": {"bundle": "c" * 64},
        "earlier": {"fingerprint": "d" * 64},
    }
    for versions, outcome in (({}, "pass"), ({"numpy": "1.0"}, "fail"), ({"rich": "1.0"}, "pass")):
        device = with_packages(**versions)
        measured = None if kind is None else evidence(device, **kinds[kind])
        assert verdict("inventory", device, measured).outcome == outcome


@pytest.mark.parametrize("changed", [{"bundle": "c" * 64}, {"fingerprint": "d" * 64}])
@pytest.mark.parametrize("policy", ["default", "strict"])
def test_evidence_is_bound_to_the_bundle_and_the_fingerprint_it_was_measured_under(
    policy: str, changed: dict[str, str]
) -> None:
    """Good evidence of another pair neither passes a device, nor does bad evidence of one fail it."""
    device = with_packages()
    assert verdict(policy, device, evidence(device)).outcome == "pass"
    assert verdict(policy, device, evidence(device, **changed)).outcome == "unknown"
    assert verdict(policy, device, evidence(device, outputs=OFF, **changed)).outcome == "unknown"
