"""What people see of a smoke run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rich.console import Console
from support.tiny_models import classifier_bundle

from envcheck.contract.baseline import Baseline, OutputReference
from envcheck.contract.evidence import (
    Ending,
    Evidence,
    Latency,
    OutputMetrics,
    Placement,
    Smoke,
    SmokeReadings,
    ThreadPool,
)
from envcheck.output.smoke import smoke_text

BASELINE = classifier_bundle().baseline()


def told(readings: SmokeReadings | None = None, baseline: Baseline = BASELINE, **changes: Any) -> str:
    fields = {"bundle": "b", "fingerprint": "f", "ending": Ending(status="ok", stage="done"), **changes}
    smoke = Smoke(
        release="tiny@1",
        measured_at="2026-01-01T00:00:00Z",
        evidence=Evidence(**fields),
        readings=readings or SmokeReadings(),
    )
    console = Console(width=200)
    with console.capture() as caught:
        console.print(smoke_text(smoke, baseline, "tiny@1 on press-07"))
    return "\n".join(" ".join(line.split()) for line in caught.get().splitlines())


METRICS = OutputMetrics(
    dtype="float32",
    elements=64,
    rmse=2e-8,
    max_abs=1e-7,
    low=0.001,
    high=0.98,
    mean=0.25,
    deviation=0.3,
    sum_error=1.2e-7,
    divergence=3e-14,
    batching_max=0.0,
)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"outputs": {"y": METRICS}}, "values 0.001 to 0.98, mean 0.25, deviation 0.3"),
        ({"outputs": {"y": METRICS}}, "probabilities sums are within 1.2e-07 of 1; divergence 3e-14 nats"),
        ({"outputs": {"y": METRICS}}, "one by one as in the batch"),
        (
            {"outputs": {"y": OutputMetrics(dtype="float32", batching_max=0.5)}},
            "one by one at most 0.5 from the batch's",
        ),
        (
            {"placement": Placement(source="profile", astray={"CPUExecutionProvider": list("abcde")})},
            "warn astray heavy nodes on CPUExecutionProvider: a, b, c and 2 more",
        ),
        (
            {"fallbacks": {"CUDAExecutionProvider": "the library libx.so is missing"}},
            "warn providers CUDAExecutionProvider did not register: the library libx.so is missing",
        ),
        (
            {
                "thread_pools": [
                    ThreadPool(kind="blas", library="libopenblas.so", version="0.3", threads=4, core="ZEN")
                ]
            },
            "threads 4 in blas (libopenblas.so 0.3, kernels for ZEN)",
        ),
        (
            {"thread_pools": [ThreadPool(kind="openmp", library="libgomp.so.1")]},
            "threads unknown in openmp (libgomp.so.1)",
        ),
        (
            {"canaries": {"u8s8": "saturates", "tf32": "tf32-like", "exp": "0123"}},
            "canaries int8 products saturates, float32 products tf32-like",
        ),
    ],
)
def test_what_was_measured_is_told(changes: dict[str, Any], line: str) -> None:
    assert line in told(**changes).splitlines()


def test_a_crash_is_told_with_its_stack() -> None:
    stack = ["run of capi/inference.py:220", "rep\x1beat of child.py:181"]
    ending = Ending(status="crash", stage="run", signal=11, reason="ended by a fault", hint="x", stack=stack)
    lines = told(ending=ending).splitlines()
    first = lines.index("FAIL ending ended by a fault")
    assert lines[first + 1 : first + 4] == [
        "stack run of capi/inference.py:220",
        r"rep\x1beat of child.py:181",
        "mend x",
    ]


def test_heat_and_quotas_are_told_apart() -> None:
    latency = Latency(runs=10, min_ms=1.0, p50_ms=2.0)
    heat = told(SmokeReadings(latency=latency, throughput=812.0, throttled=True))
    assert "throughput 812 samples/s" in heat
    assert "warn slowed by heat or power, while the model ran: its timings say little" in heat
    assert "quota" not in heat
    assert "warn slowed by a CPU quota" in told(SmokeReadings(latency=latency, starved=True))


def test_quanta_are_told_where_a_quantised_graph_rounds() -> None:
    quanta = OutputReference(dtype="int8", shape=[4], exact=True, quantised=True)
    here = OutputMetrics(dtype="int8", shape=[4], elements=4, differing=1, max_abs=1.0, within_quantum=1.0)
    assert "1 of 4 elements differ, largest error 1, 100% within one quantum" in told(
        outputs={"y": here}, baseline=msgspec.structs.replace(BASELINE, outputs={"y": quanta})
    )


def test_percentiles_are_told_where_runs_sufficed() -> None:
    latency = Latency(runs=700, min_ms=1.0, p50_ms=2.0, p90_ms=3.0, p99_ms=4.5)
    assert "latency p50 2 ms, p90 3 ms, p99 4.5 ms over 700 runs" in told(SmokeReadings(latency=latency))


def test_names_of_the_model_are_inert() -> None:
    strays = {"CPUExecutionProvider": ["MatMul \x1b]0;pwned\x07"]}
    assert "\x1b" not in told(placement=Placement(source="profile", astray=strays))
