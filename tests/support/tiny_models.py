"""Tiny real models and the bundles around them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from envcheck.contract.baseline import Baseline, Floor, OutputReference
from envcheck.contract.bundle import Bundle, build_bundle, read_bundle
from envcheck.contract.document import encode
from envcheck.contract.evidence import Ending, Evidence
from envcheck.contract.fingerprint import make_fingerprint
from envcheck.smoke.graph import read_graph

Arrays = Mapping[str, NDArray[Any]]


def npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def model_bytes(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: Arrays | None = None,
    opset: int = 13,
    domains: tuple[str, ...] = (),
) -> bytes:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString())


def value(name: str, kind: int, shape: list[int | str | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


WEIGHTS = np.random.default_rng(7).normal(size=(8, 4)).astype(np.float32)
SAMPLES = np.random.default_rng(8).normal(size=(16, 8)).astype(np.float32)


def classifier(batch: int | str = "n") -> bytes:
    """A linear layer and a softmax: 8 numbers in, 4 scores out."""
    return model_bytes(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=-1)],
        [value("x", TensorProto.FLOAT, [batch, 8])],
        [value("y", TensorProto.FLOAT, [batch, 4])],
        {"w": WEIGHTS},
    )


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def reference_scores() -> NDArray[Any]:
    return softmax(SAMPLES.astype(np.float64) @ WEIGHTS.astype(np.float64))


def make_bundle(
    model: bytes,
    inputs: Arrays,
    reference: Arrays,
    outputs: dict[str, OutputReference],
    labels: Arrays | None = None,
    providers: list[str] | None = None,
) -> Bundle:
    """Freeze a model by hand, as baseline creation does by measuring."""
    fingerprint = make_fingerprint({}, "2026-01-01T00:00:00Z", "0.1.0")
    baseline = Baseline(
        name="tiny",
        version="1",
        created_at="2026-01-01T00:00:00Z",
        agent="0.1.0",
        graph=read_graph(model, "model.onnx"),
        samples=len(next(iter(inputs.values()))) if inputs else 0,
        outputs=outputs,
        required=["numpy", "onnxruntime"],
        providers=providers or ["CPUExecutionProvider"],
        evidence=Evidence(bundle="", fingerprint=fingerprint.digest, ending=Ending(status="ok")),
    )
    members = {
        "baseline.json": encode(baseline),
        "fingerprint.json": encode(fingerprint),
        "model.onnx": model,
        "inputs.npz": npz(inputs),
        "reference.npz": npz(reference),
    }
    if labels is not None:
        members["labels.npz"] = npz(labels)
    return read_bundle(build_bundle("tiny@1", members), "tiny.envcheck")


def classifier_bundle(batch: int | str = "n", model: bytes = b"", **changes: Any) -> Bundle:
    """The small classifier as a bundle, or another model of the same inputs and outputs."""
    scores = reference_scores()
    floor = Floor(basis="float64", scale=0.4, rms=2e-8, max=1e-7, members=3)
    return make_bundle(
        model or classifier(batch),
        {"x": SAMPLES},
        {"y": scores},
        {"y": OutputReference(dtype="float32", shape=[16, 4], decides=True, floor=floor)},
        **{"labels": {"labels": scores.argmax(axis=-1)}, **changes},
    )
