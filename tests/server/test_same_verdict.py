"""One input, one verdict: what `envcheck diff` says of two files is what the gate says of the device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import builders
from support.collector import Device, make_bundle

from envcheck.cli import envcheck, run_cli
from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.evidence import Decisions, Ending, Evidence, Latency, Smoke, SmokeReadings
from envcheck.contract.fingerprint import Section, make_fingerprint
from envcheck.contract.policy import Budget
from envcheck.contract.wire import FleetAnswer, result_of
from envcheck.judge.device_class import device_class
from envcheck.judge.policies import builtin_policy

POLICIES = {name: builtin_policy(name) for name in ("default", "strict", "inventory")}
# The gate of every store is compared with judging one by one in test_gate.py.
STORES = ("sqlite",)

POLICIES["budget"] = msgspec.structs.replace(
    POLICIES["default"], name="budget", budget=Budget(p50_ms=5.0, p90_ms=8.0, peak_memory_mb=100.0)
)
POLICIES["classes"] = msgspec.structs.replace(
    POLICIES["default"],
    name="classes",
    budget=Budget(p50_ms=1.0),
    budgets={device_class(builders.shared()): Budget(p50_ms=5.0, throughput=1000 * 180 / 4.0)},
)
OTHER_NUMPY = {**builders.sections()["packages"].shared, "numpy": builders.package("1.26.4")}
ENVIRONMENTS: dict[str, dict[str, Section]] = {
    "same": {},
    "numpy": {"packages": Section(status="ok", shared=OTHER_NUMPY)},
    "unreadable": {"packages": Section(status="unreadable", reason="no permission")},
    "absent": {"cpu": Section(status="absent", reason="none")},
}
EVIDENCE: dict[str, dict[str, Any] | None] = {
    "healthy": {},
    "off": {"outputs": {"logits": builders.metrics(rmse=0.1, max_abs=1.0)}},
    "flipped": {
        "outputs": {"logits": builders.metrics(decisions=Decisions(total=180, flipped=9, largest_margin=1.0))}
    },
    "blank": {"outputs": {}, "repeatable": None, "accuracy": None, "canaries": {}},
    "impossible": {"accuracy": 7.0},
    "crashed": {"ending": Ending(status="crash", stage="run", reason="ended by a segmentation fault")},
    "another": {"bundle": "c" * 64},
    "earlier": {"fingerprint": "d" * 64},
    "none": None,
}
READINGS = {
    "healthy": SmokeReadings(
        latency=Latency(runs=64, min_ms=1.0, p50_ms=2.0, p90_ms=3.0), peak_memory_mb=80.0, throttled=False
    ),
    "off": SmokeReadings(latency=Latency(runs=10, min_ms=1.0, p50_ms=2.0), peak_memory_mb=80.0),
    "flipped": SmokeReadings(
        latency=Latency(runs=64, min_ms=1.0, p50_ms=9.0, p90_ms=9.0), peak_memory_mb=180.0, throttled=True
    ),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_diff_and_gate_agree(
    collector, tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str, environment: str
) -> None:
    bundle = make_bundle()
    (tmp_path / "a.envcheck").write_bytes(bundle)
    (tmp_path / "policy.json").write_bytes(encode(POLICIES[policy]))
    collector.holder("baseline:write").push(bundle, POLICIES[policy])
    told: dict[str, list[Any]] = {}
    for name, changed in EVIDENCE.items():
        sections = builders.sections(**ENVIRONMENTS[environment])
        device = collector.device(name, sections=sections)
        smoke = None if changed is None else smoke_of(device, bundle, name, changed)
        report(device, bundle, smoke)
        told[name] = alone(tmp_path, sections, smoke, capsys)
    fleet = collector.services.fleet.page(release="digits@1.0")
    assert {one.device: [one.outcome, one.reason] for one in fleet.devices} == told
    check_gate(collector.holder("gate:read").gate(), fleet)


def check_gate(answer: Any, fleet: FleetAnswer) -> None:
    outcomes = [one.outcome for one in fleet.devices]
    assert (answer.ready, answer.blocked, answer.unknown) == tuple(
        outcomes.count(outcome) for outcome in ("pass", "fail", "unknown")
    )


def smoke_of(device: Device, bundle: bytes, name: str, changed: dict[str, Any]) -> Smoke:
    measured: Evidence = builders.evidence(device.fingerprint, **{"bundle": digest(bundle), **changed})
    return Smoke(
        release="digits@1.0",
        measured_at="2026-01-01T00:00:00Z",
        evidence=measured,
        readings=READINGS.get(name, SmokeReadings()),
    )


def report(device: Device, bundle: bytes, smoke: Smoke | None) -> None:
    if smoke is None:
        device.report()
    else:
        device.report({digest(bundle): smoke.evidence}, results={digest(bundle): result_of(smoke)})


def alone(
    directory: Path, sections: dict[str, Section], smoke: Smoke | None, capsys: pytest.CaptureFixture[str]
) -> list[Any]:
    """What `envcheck diff` says of the same: the outcome, and what decided it."""
    fingerprint = make_fingerprint(sections, "2026-01-01T00:00:00Z", "0")
    (directory / "b.json").write_bytes(encode(fingerprint))
    arguments = ["diff", str(directory / "a.envcheck"), str(directory / "b.json"), "--json"]
    arguments += ["--policy", str(directory / "policy.json")]
    if smoke is not None:
        (directory / "smoke.json").write_bytes(encode(smoke))
        arguments += ["--evidence", str(directory / "smoke.json")]
    capsys.readouterr()
    code = run_cli(envcheck, arguments)
    verdict = json.loads(capsys.readouterr().out)
    assert code == {"pass": 0, "fail": 1, "unknown": 3}[verdict["outcome"]]
    unknown = verdict["outcome"] == "unknown"
    deciding = [
        one
        for one in verdict.get("findings", [])
        if one["severity"] == "block" and one.get("unknown", False) == unknown
    ]
    reason = (deciding[0].get("cause") or deciding[0]["message"]) if deciding else ""
    return [verdict["outcome"], reason]
