"""Small whole values for tests of judging: change one thing and see what is found."""

from __future__ import annotations

from typing import Any

from envcheck.contract.baseline import Baseline, Floor, Graph, OutputReference
from envcheck.contract.evidence import Decisions, Ending, Evidence, OutputMetrics, Placement, Runtime
from envcheck.contract.fingerprint import (
    Section,
    SharedFingerprint,
    make_fingerprint,
    shared_fingerprint,
)
from envcheck.judge.reference import Reference

BUNDLE = "b" * 64


def package(version: str) -> dict[str, Any]:
    return {"version": version}


def sections(**changed: Section) -> dict[str, Section]:
    """A whole small environment; sections given by name replace its own."""
    return {
        "python": Section(status="ok", shared={"version": "3.11.7", "implementation": "cpython"}),
        "packages": Section(
            status="ok",
            shared={
                "numpy": package("2.4.6"),
                "onnxruntime": package("1.32.0"),
                "rich": package("15.0.0"),
            },
        ),
        "system": Section(status="ok", shared={"machine": "x86_64"}),
        "cpu": Section(status="ok", shared={"isa": ["avx2", "avx512_vnni", "sse4_2"]}),
        "memory": Section(status="ok", shared={"total_mib": 4096}),
        "onnxruntime": Section(
            status="ok", shared={"version": "1.32.0", "flavours": {"onnxruntime": "1.32.0"}}
        ),
        "cuda": Section(status="absent", reason="no NVIDIA device"),
        **changed,
    }


def shared(**changed: Section) -> SharedFingerprint:
    return shared_fingerprint(make_fingerprint(sections(**changed), "2026-01-01T00:00:00Z", "0"))


def metrics(**changed: Any) -> OutputMetrics:
    values: dict[str, Any] = {
        "dtype": "float32",
        "shape": [180, 10],
        "elements": 1800,
        "rmse": 9e-8,
        "max_abs": 9e-7,
        "cosine": 1.0,
        "decisions": Decisions(total=180),
        **changed,
    }
    return OutputMetrics(**values)


def evidence(device: SharedFingerprint | None = None, **changed: Any) -> Evidence:
    values: dict[str, Any] = {
        "bundle": BUNDLE,
        "fingerprint": (device or shared()).digest,
        "ending": Ending(status="ok", stage="done"),
        "runtime": Runtime(python="3.11.7", onnxruntime="1.32.0", numpy="2.4.6"),
        "requested": ["CPUExecutionProvider"],
        "registered": ["CPUExecutionProvider"],
        "placement": Placement(source="assignment", nodes={"CPUExecutionProvider": {"MatMul": 3}}),
        "outputs": {"logits": metrics()},
        "repeatable": True,
        "accuracy": 0.96,
        "canaries": {"u8s8": "exact"},
        **changed,
    }
    return Evidence(**values)


def reference(**changed: Any) -> Reference:
    """The training side; keyword arguments change fields of its baseline."""
    training = shared()
    values: dict[str, Any] = {
        "name": "digits",
        "version": "1.0",
        "created_at": "2026-01-01T00:00:00Z",
        "agent": "0",
        "graph": Graph(sha256="a" * 64, size=1, ir_version=8),
        "samples": 180,
        "outputs": {
            "logits": OutputReference(
                dtype="float32",
                shape=[180, 10],
                decides=True,
                floor=Floor(basis="float64", scale=1.0, rms=1e-7, max=1e-6),
            )
        },
        "required": ["numpy", "onnxruntime"],
        "providers": ["CPUExecutionProvider"],
        "evidence": evidence(training, bundle=""),
        **changed,
    }
    return Reference(bundle=BUNDLE, baseline=Baseline(**values), training=training)
