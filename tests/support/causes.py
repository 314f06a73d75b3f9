"""What the tests of causes share: sides that differ in one thing, and the finding that comes of it."""

from __future__ import annotations

from typing import Any

import msgspec
from support.builders import evidence, metrics, reference, shared

from envcheck.contract.evidence import Placement
from envcheck.contract.fingerprint import Section, SharedFingerprint
from envcheck.contract.verdict import Finding
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy
from envcheck.judge.reference import Reference

DEFAULT, STRICT = builtin_policy("default"), builtin_policy("strict")
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
OFF = {"logits": metrics(rmse=1e-3, max_abs=1e-2)}
ORT = {"version": "1.32.0", "flavours": {"onnxruntime": "1.32.0"}}
GPU_ORT = {
    "version": "1.23.2",
    "package": "onnxruntime-gpu",
    "flavours": {"onnxruntime-gpu": "1.23.2"},
    "providers": ["cuda", "tensorrt"],
    "cuda": "12.8",
}


def ok(**facts: Any) -> Section:
    return Section(status="ok", shared=facts)


def on_gpu(**changed: Any) -> Reference:
    placement = Placement(source="assignment", nodes={CUDA: {"MatMul": 3}})
    there = evidence(bundle="", registered=[CUDA, CPU], placement=placement)
    made = reference(providers=[CUDA, CPU], evidence=there, **changed)
    training = shared(onnxruntime=ok(**GPU_ORT), cuda=ok(driver="550.54", driver_cuda="12.4"))
    return msgspec.structs.replace(made, training=training)


def why(
    path: str,
    held_to: Reference | None = None,
    device: SharedFingerprint | None = None,
    **changed: Any,
) -> Finding:
    device = device or shared()
    findings = judge(held_to or reference(), device, evidence(device, **changed), DEFAULT)
    return next(one for one in findings if one.path == path)


LOGITS = "evidence.outputs.logits"
