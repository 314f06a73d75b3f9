"""Device classes, budgets by class, training's own timings, throughput, and what slows a device down."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import evidence, reference, sections, shared

from envcheck.contract.baseline import Graph, TensorSpec
from envcheck.contract.evidence import Evidence, Latency, Smoke, SmokeReadings
from envcheck.contract.fingerprint import Section, SharedFingerprint, SharedSection
from envcheck.contract.policy import Budget, Policy, Timing
from envcheck.contract.verdict import Finding, Verdict
from envcheck.contract.wire import Result, result_of
from envcheck.errors import BadInput
from envcheck.judge.decide import DeviceReadings, decide
from envcheck.judge.device_class import device_class
from envcheck.judge.policies import builtin_policy, load_policy
from envcheck.judge.reference import Reference
from envcheck.judge.terms import limits_of, samples_of_a_run, terms_of

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)
GOLDEN = Path(__file__).parents[1] / "facts" / "golden"
BARE = msgspec.structs.replace(builtin_policy("default"), timing=None)
PI = Section(status="ok", shared={"machine": "aarch64", "board": {"model": "Raspberry Pi 4 Model B Rev 1.4"}})
CPU_SLOW = Section(
    status="ok", shared={"isa": ["sse4_2"], "model": "Intel(R) N100", "quota": 0.5, "threads": 4}
)


def captured(name: str) -> SharedFingerprint:
    """The facts of a machine of tests/hosts."""
    sections = json.loads((GOLDEN / f"{name}.json").read_text())
    return SharedFingerprint(
        digest="",
        sections={
            key: SharedSection(name=key, status=part["status"], facts=part.get("shared", {}))
            for key, part in sections.items()
        },
    )


@pytest.mark.parametrize(
    ("machine", "provider", "name"),
    [
        ("raspberry-pi-4", "CPUExecutionProvider", "Raspberry Pi 4 Model B"),
        ("jetson-nano-l4t32", "CPUExecutionProvider", "NVIDIA Jetson Nano Developer Kit (5W)"),
        (
            "jetson-agx-orin-l4t35",
            "CUDAExecutionProvider",
            "Jetson AGX Orin Developer Kit (MAXN); CUDAExecutionProvider",
        ),
        ("industrial-pc-haswell", "CPUExecutionProvider", "Intel(R) Core(TM) i5-4590 CPU @ 3.30GHz"),
        ("vm-epyc-rome-masked", "CPUExecutionProvider", "AMD EPYC-Rome Processor"),
        (
            "server-a100-mig",
            "CUDAExecutionProvider",
            ("Intel(R) Xeon(R) Gold 6326 CPU @ 2.90GHz; CUDAExecutionProvider (NVIDIA A100 80GB PCIe)"),
        ),
    ],
)
def test_the_class_of_a_device(machine: str, provider: str, name: str) -> None:
    assert device_class(captured(machine), provider) == name


@pytest.mark.parametrize("garbage", [None, 0, [], {}, "", [1], {"model": 3}])
def test_a_machine_of_which_nothing_is_known_has_no_class(garbage: Any) -> None:
    facts = {"board": garbage, "model": garbage, "gpus": garbage, "jetson": garbage}
    device = shared(**{name: Section(status="ok", shared=facts) for name in ("system", "cpu", "cuda")})
    assert device_class(device, "CUDAExecutionProvider") == ""


def decided(
    policy: Policy,
    device: SharedFingerprint,
    result: Result | None,
    held_to: Reference | None = None,
    measured: Evidence | None = None,
    **changed: Any,
) -> Verdict:
    terms = terms_of(policy, held_to or reference(), device, measured or evidence(device))
    readings = DeviceReadings(result=result, **changed)
    return decide([], readings, {}, (), policy, NOW, release="digits@1.0", terms=terms)


def timed(p50: float, **changed: Any) -> Result:
    return Result(
        evidence="e" * 64,
        measured_at="2026-06-01T11:00:00Z",
        latency=Latency(runs=64, min_ms=p50 / 2, p50_ms=p50),
        **changed,
    )


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


class TestBudgets:
    policy = msgspec.structs.replace(
        BARE, budget=Budget(p50_ms=10, p90_ms=50), budgets={"Raspberry Pi 4 Model B": Budget(p50_ms=40)}
    )

    def test_a_class_has_its_own(self) -> None:
        board = shared(system=PI)
        terms = terms_of(self.policy, reference(), board, evidence(board))
        assert terms.budget == Budget(p50_ms=40, p90_ms=50)
        result = msgspec.structs.replace(timed(30), latency=Latency(runs=64, min_ms=1, p50_ms=30, p90_ms=35))
        assert decided(self.policy, board, result).outcome == "pass"
        other = shared(cpu=Section(status="ok", shared={"isa": [], "model": "Intel(R) N100"}))
        assert decided(self.policy, other, result).outcome == "fail"

    def test_a_device_without_a_class_is_unknown(self) -> None:
        verdict = decided(self.policy, shared(), timed(1))
        assert verdict.outcome == "unknown"
        assert "the device class is not known" in {
            one.message.rpartition(": ")[2] for one in verdict.findings
        }

    def test_so_is_who_decides_without_terms(self) -> None:
        """A collector that does not work out terms yet must not pass a device by the wrong budget."""
        readings = DeviceReadings(result=timed(1))
        for policy in (
            self.policy,
            msgspec.structs.replace(BARE, timing=Timing(severity="block")),
            msgspec.structs.replace(BARE, budget=Budget(throughput=1)),
        ):
            assert decide([], readings, {}, (), policy, NOW, release="digits@1.0").outcome == "unknown"
        assert decide([], readings, {}, (), BARE, NOW, release="digits@1.0").outcome == "pass"

    def test_it_is_read_from_yaml(self) -> None:
        policy = load_policy(
            "name: own\nbudgets:\n  Raspberry Pi 4 Model B: {throughput: 20}\n"
            "timing: {factor: 1.5, severity: block}\n"
            "rules:\n- {path: evidence.outputs.*, compare: noise-floor, severity: block}\n",
            "own.yaml",
        )
        assert policy.timing == Timing(factor=1.5, severity="block")
        for wrong in ("timing: {factor: 0}", "timing: {share: 2}", "budgets: {Pi: {p51_ms: 3}}"):
            with pytest.raises(BadInput, match=wrong.partition(":")[0]):
                load_policy(f"name: own\n{wrong}\nrules: []\n", "own.yaml")


class TestThroughput:
    """It follows from the median latency and the samples of one run, so the wire need not carry it."""

    def with_inputs(self, *firsts: Any, samples: int = 180) -> Reference:
        inputs = [
            TensorSpec(name=f"x{n}", dtype="float32", shape=[first, 4]) for n, first in enumerate(firsts)
        ]
        return reference(graph=Graph(sha256="a" * 64, size=1, ir_version=8, inputs=inputs), samples=samples)

    @pytest.mark.parametrize(
        ("firsts", "samples", "run"),
        [
            (("n",), 180, 180),
            ((None,), 16, 16),
            ((1,), 180, 1),
            ((8,), 16, 8),
            ((1, "n"), 16, 16),
            ((), 5, 5),
        ],
    )
    def test_the_samples_of_a_run(self, firsts: tuple[Any, ...], samples: int, run: int) -> None:
        assert samples_of_a_run(self.with_inputs(*firsts, samples=samples).baseline) == run

    @pytest.mark.parametrize(("p50", "outcome"), [(10.0, "pass"), (20.0, "pass"), (20.1, "fail")])
    def test_a_budget_of_it(self, p50: float, outcome: str) -> None:
        policy = msgspec.structs.replace(BARE, budget=Budget(throughput=50))
        verdict = decided(policy, shared(), timed(p50), self.with_inputs(1))
        assert verdict.outcome == outcome
        if outcome == "fail":
            assert only(verdict).message == "throughput 49.8 samples/s, budget 50 samples/s"

    def test_without_a_latency_it_is_unknown(self) -> None:
        policy = msgspec.structs.replace(BARE, budget=Budget(throughput=50))
        result = msgspec.structs.replace(timed(1), latency=None)
        assert decided(policy, shared(), result, self.with_inputs(1)).outcome == "unknown"


class TestTrainingsTimings:
    held_to = reference(
        timings={
            "Raspberry Pi 4 Model B": SmokeReadings(latency=Latency(runs=64, min_ms=9, p50_ms=10)),
            "Intel(R) N100": SmokeReadings(),
        }
    )
    board = shared(system=PI)

    @pytest.mark.parametrize(("p50", "found"), [(10.0, 0), (20.0, 0), (20.1, 1)])
    def test_a_device_is_held_to_its_own_class(self, p50: float, found: int) -> None:
        verdict = decided(builtin_policy("default"), self.board, timed(p50), self.held_to)
        assert len(verdict.findings) == found
        assert verdict.outcome == "pass", "by default it warns"
        if found:
            assert only(verdict).message == ("latency p50 20.1 ms here, 10 ms in training on such a device")

    @pytest.mark.parametrize("model", ["Intel(R) N100", "another", ""])
    def test_never_to_another(self, model: str) -> None:
        device = shared(cpu=Section(status="ok", shared={"isa": [], "model": model}))
        strict = msgspec.structs.replace(BARE, timing=Timing(factor=1, severity="block"))
        assert decided(strict, device, timed(9999), self.held_to).findings == []

    def test_what_was_not_measured_is_unknown_where_it_blocks(self) -> None:
        for severity, outcome in (("block", "unknown"), ("warn", "pass")):
            policy = msgspec.structs.replace(BARE, timing=Timing(severity=severity))  # type: ignore[arg-type]
            assert decided(policy, self.board, None, self.held_to).outcome == outcome

    @pytest.mark.parametrize("slowed", [{"throttled": True}, {"throttled": True, "starved": True}])
    def test_one_that_was_slowed_down_proves_nothing(self, slowed: dict[str, bool]) -> None:
        policy = msgspec.structs.replace(BARE, timing=Timing(severity="block"))
        verdict = decided(policy, self.board, timed(99, **slowed), self.held_to)
        assert verdict.outcome == "unknown"
        assert ("quota" in only(verdict).cause) == ("starved" in slowed)
        assert ("heat or power" in only(verdict).cause) == ("starved" not in slowed)


class TestWhySlow:
    policy = msgspec.structs.replace(BARE, budget=Budget(p50_ms=1))

    def cause(self, device: SharedFingerprint, held_to: Reference | None = None, **changed: Any) -> str:
        return only(decided(self.policy, device, timed(5), held_to, evidence(device, **changed))).cause

    def test_a_provider_that_fell_back(self) -> None:
        gpu = reference(providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
        assert (
            self.cause(shared(), gpu)
            == "CPUExecutionProvider runs the model in place of CUDAExecutionProvider"
        )

    def test_subnormal_weights(self) -> None:
        held_to = reference(graph=Graph(sha256="a" * 64, size=1, ir_version=8, subnormal=900))
        assert "900 subnormal weights" in self.cause(shared(), held_to, canaries={"denormals": "kept"})
        assert self.cause(shared(), held_to, canaries={"denormals": "flushed"}) == ""

    def test_a_quota(self) -> None:
        assert self.cause(shared(cpu=CPU_SLOW)) == "the control group grants 0.5 of the 4 CPUs"

    def test_a_governor(self) -> None:
        facts = {"isa": ["avx2", "avx512_vnni", "sse4_2"], "governors": ["powersave"]}
        for driver, named in (("acpi-cpufreq", True), ("intel_pstate", False)):
            device = shared(cpu=Section(status="ok", shared={**facts, "frequency_driver": driver}))
            assert ("powersave" in self.cause(device)) == named

    def test_narrower_instructions(self) -> None:
        device = shared(cpu=Section(status="ok", shared={"isa": ["sse4_2"]}))
        assert self.cause(device).startswith("this CPU has no avx2, avx512_vnni")

    def test_nothing_known(self) -> None:
        assert self.cause(shared()) == ""


class TestTheDeployedModel:
    def test_another_one_is_told(self) -> None:
        verdict = decided(BARE, shared(), None, model="f" * 64)
        assert (verdict.outcome, only(verdict).path) == ("fail", "readings.model")
        assert only(verdict).message == (
            "another model file is deployed: ffffffffffff here, aaaaaaaaaaaa was released"
        )

    def test_one_that_could_not_be_read_is_unknown(self) -> None:
        verdict = decided(BARE, shared(), None, model_problem="it is not there")
        assert (verdict.outcome, only(verdict).unknown) == ("unknown", True)

    @pytest.mark.parametrize("model", ["", "a" * 64])
    def test_the_released_one_is_not(self, model: str) -> None:
        assert decided(BARE, shared(), None, model=model).findings == []


def test_the_wire_tells_a_quota_as_something_that_slows_down() -> None:
    for readings, told in (
        (SmokeReadings(starved=True, throttled=False), (True, True)),
        (SmokeReadings(starved=False, throttled=True), (True, False)),
        (SmokeReadings(starved=None, throttled=None), (None, False)),
        (SmokeReadings(starved=False, throttled=False), (False, False)),
    ):
        smoke = Smoke(release="a@1", measured_at="", evidence=evidence(), readings=readings)
        result = result_of(smoke)
        assert (result.throttled, result.starved) == told


figures = st.sampled_from([1.0, 4.9, 5.0, 5.1, 9.0, 9.1, 18.0, 20.0, 20.1, 36.0, 50.0, 180.0])
latencies = st.none() | st.builds(
    Latency, runs=st.just(64), min_ms=st.just(0.5), p50_ms=figures, p90_ms=st.none() | figures
)
results = st.builds(
    Result,
    evidence=st.just(""),
    measured_at=st.just(""),
    latency=latencies,
    peak_memory_mb=st.none() | figures,
    throttled=st.sampled_from([None, False, True]),
)


@given(results, results, st.sampled_from(["Raspberry Pi 4 Model B", "Intel(R) N100", ""]))
def test_results_on_one_side_of_every_limit_get_one_verdict(one: Result, other: Result, name: str) -> None:
    """A store may count devices by these lines and decide for the first of each group."""
    policy = msgspec.structs.replace(
        BARE,
        budget=Budget(p50_ms=50, p90_ms=20, peak_memory_mb=100),
        budgets={
            "Raspberry Pi 4 Model B": Budget(p50_ms=20.0, throughput=10_000),
            "Intel(R) N100": Budget(throughput=36_000, peak_memory_mb=9),
        },
        timing=Timing(factor=2, severity="block"),
    )
    held_to = reference(timings={"Intel(R) N100": SmokeReadings(latency=Latency(runs=9, min_ms=1, p50_ms=9))})
    limits = limits_of(policy, held_to.baseline)
    assert limits["p50_ms"] == [5.0, 18.0, 20.0, 50.0]
    if sides(one, limits) != sides(other, limits):
        return
    system = PI if name.startswith("Rasp") else sections()["system"]
    device = shared(system=system, cpu=Section(status="ok", shared={"isa": [], "model": name}))
    assert len({decided(policy, device, result, held_to).outcome for result in (one, other)}) == 1


def sides(result: Result, limits: dict[str, list[float]]) -> list[Any]:
    """On which side of every limit a result is, and whether it was slowed down."""
    latency = result.latency
    told: dict[str, float | None] = {
        "p50_ms": latency.p50_ms if latency else None,
        "p90_ms": latency.p90_ms if latency else None,
        "peak_memory_mb": result.peak_memory_mb,
    }
    lines = [
        None if (value := told[name]) is None else [value > limit for limit in stated]
        for name, stated in limits.items()
    ]
    return [*lines, bool(result.throttled)]
