"""The lab's models and their bundles: a CNN and a transformer, each in float and quantised in three ways.

Both were trained in torch on the digits (scripts/train_digits.py). Each has two outputs of one shape, its
logits and their softmax, so that a swap of outputs is not betrayed by shapes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper
from places import CACHE, DIGITS, digest, digest_tree, execute, make_once

from envcheck.contract.baseline import Baseline
from envcheck.contract.bundle import BASELINE, MODEL, Bundle, build_bundle, read_bundle
from envcheck.contract.canonical import digest as content_digest
from envcheck.contract.document import encode

SAMPLES = 32
NETWORKS = ("cnn", "transformer")
SCHEMES = ("float", "dynamic-s8", "dynamic-u8", "qdq")
INPUT, _SCORES = "image", "logits"


@dataclass(frozen=True)
class Variant:
    """One model file, and the float original where it is quantised."""

    name: str
    model: bytes
    original: bytes | None = None


def names() -> list[str]:
    """Return the name of every variant: `cnn-float`, `transformer-qdq`, ..."""
    return [f"{network}-{scheme}" for network in NETWORKS for scheme in SCHEMES]


@functools.cache
def variant(name: str) -> Variant:
    """Make a variant from the trained network; the same versions give the same bytes."""
    network, _, scheme = name.partition("-")
    original = DIGITS / f"{network}.onnx"
    if scheme == "float":
        return Variant(name, with_softmax(onnx.load(original)))
    return Variant(name, with_softmax(_quantised(original, scheme)), with_softmax(onnx.load(original)))


def with_softmax(model: Any) -> bytes:
    """Give a model a second output: the softmax of its logits."""
    model.graph.node.append(
        helper.make_node("Softmax", [_SCORES], ["probabilities"], name="softmax", axis=-1)
    )
    model.graph.output.append(
        helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 10])
    )
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _quantised(original: Path, scheme: str) -> Any:
    import onnxruntime

    key = digest(original.read_bytes(), scheme, golden()[0].tobytes(), onnxruntime.__version__)

    def make(home: Path) -> None:
        # The quantisers write beside the model they are given.
        given = home / "float.onnx"
        given.write_bytes(original.read_bytes())
        with _quiet():
            _quantise(given, home / "made.onnx", scheme)

    return onnx.load(make_once(CACHE / f"quantised-{key}", make) / "made.onnx")


def _quantise(original: Path, target: Path, scheme: str) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    if scheme == "qdq":
        quantize_static(
            original,
            target,
            _calibration(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    else:
        signed = scheme == "dynamic-s8"
        kind = QuantType.QInt8 if signed else QuantType.QUInt8
        quantize_dynamic(original, target, weight_type=kind, per_channel=signed)


def _calibration() -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Golden(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{INPUT: golden()[0]}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    return Golden()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def golden() -> tuple[Any, Any]:
    """Return the golden images [32, 1, 8, 8] and their labels [32]."""
    with np.load(DIGITS / "inputs.npz") as inputs, np.load(DIGITS / "labels.npz") as labels:
        return inputs[INPUT][:SAMPLES], labels["labels"][:SAMPLES]


def write_arrays(path: Path, arrays: dict[str, Any]) -> Path:
    """Write an npz whose bytes depend on the arrays alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in sorted(arrays.items()):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
    return path


def baseline_command(folder: Path, made: Variant, release: str, *options: str | Path) -> list[str | Path]:
    """Write a variant's files into `folder` and return the command that makes its bundle there."""
    images, labels = golden()
    (folder / "model.onnx").write_bytes(made.model)
    command: list[str | Path] = [
        *(sys.executable, "-m", "envcheck", "baseline", "create", folder / "model.onnx"),
        *("--inputs", write_arrays(folder / "inputs.npz", {INPUT: images})),
        *("--labels", write_arrays(folder / "labels.npz", {"labels": labels})),
        *("--name", release, "-o", folder / "made.envcheck"),
    ]
    if made.original is not None:
        (folder / "float.onnx").write_bytes(made.original)
        command += ["--float-model", folder / "float.onnx"]
    return [*command, *options]


def freeze(made: Variant, python: Path, agent: Path, *options: str) -> Path:
    """Return the bundle of a variant, made in the environment of `python` by the command of `agent`."""
    parts = [digest_tree(agent / "envcheck" / part) for part in ("baseline", "smoke", "contract")]
    key = digest(made.model, made.original, python, *options, *parts)

    def make(home: Path) -> None:
        wanted = baseline_command(home, made, f"{made.name}@1.0", "--quick", "--python", python, *options)
        execute(wanted, environ={"PYTHONPATH": str(agent)})

    return make_once(CACHE / f"bundle-{key}", make) / "made.envcheck"


def open_bundle(path: Path) -> Bundle:
    """Open a bundle that the lab made."""
    return read_bundle(path.read_bytes(), str(path))


def deploy(bundle: Bundle, model: bytes, **changes: Any) -> bytes:
    """Return `bundle` with another model in it, and with every expectation as training left it.

    That is how a fault reaches a device in this lab: what the device computes is the altered file's, what
    it is held to (references, floor, labels, the graph's needs) is the real one's. Only the
    digest and size of the model are written anew: a bundle whose digests do not fit is refused, as it should.
    """
    baseline = bundle.baseline()
    graph = msgspec.structs.replace(baseline.graph, sha256=content_digest(model), size=len(model))
    altered: Baseline = msgspec.structs.replace(baseline, graph=graph, **changes)
    return build_bundle(altered.release, {**bundle.members, MODEL: model, BASELINE: encode(altered)})


def weights(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each float weight of a model beside its values; single numbers are no weights."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            if values.size > 1:
                yield tensor, values
