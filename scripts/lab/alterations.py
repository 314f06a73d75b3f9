"""What is done to a model file so that a device computes something else than training did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from models import variant, weights
from onnx import helper, numpy_helper

Alteration = Callable[[Any], None]
_SEED = 4


def altered(model: bytes, alteration: Alteration) -> bytes:
    """Return an altered model."""
    proto = onnx.load_from_string(model)
    alteration(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def moved(share: float, seed: int = _SEED) -> Alteration:
    """Change every float weight by a normal share of its own value."""

    def alter(model: Any) -> None:
        generator = np.random.default_rng(seed)
        for tensor, values in weights(model):
            factors = 1 + share * generator.standard_normal(values.shape)
            _put(tensor, (values * factors).astype(np.float32))

    return alter


def unchanged(_model: Any) -> None:
    """Leave the model as it is."""


def rounded_to_half(model: Any) -> None:
    """Round every float weight to fp16 and back."""
    for tensor, values in weights(model):
        _put(tensor, values.astype(np.float16).astype(np.float32))


def outputs_exchanged(model: Any) -> None:
    """Give the values of each of the two outputs under the other's name."""
    first, second = (output.name for output in model.graph.output)
    names = {first: second, second: first}
    for node in model.graph.node:
        for place in (node.input, node.output):
            place[:] = [names.get(name, name) for name in place]


def outputs_reordered(model: Any) -> None:
    """Declare the outputs in the reverse order: whoever takes them by position takes the wrong one."""
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(reversed(outputs))


def classes_permuted(model: Any) -> None:
    """Move every class by one: another order of labels."""
    _after_logits(model, "Gather", [_constant(model, "order", np.roll(np.arange(10), 1))], axis=1)


def another_network(name: str) -> Alteration:
    """Put the other network's file, trained on the same images, under this one's name."""
    network, _, scheme = name.partition("-")
    other = f"{'transformer' if network == 'cnn' else 'cnn'}-{scheme}"

    def alter(model: Any) -> None:
        model.CopyFrom(onnx.load_from_string(variant(other).model))

    return alter


def random_noise(model: Any) -> None:
    """Add random numbers of a thousandth to the logits."""
    scores = _source_of_logits(model)
    model.graph.node.append(
        helper.make_node("RandomNormalLike", [scores], ["noise"], name="noise", scale=1e-3)
    )
    model.graph.node.append(helper.make_node("Add", [scores, "noise"], ["logits"], name="noisy"))
    _sort(model)


def not_a_number(model: Any) -> None:
    """Make NaN of the third class's logits."""
    values = np.zeros((1, 10), np.float32)
    values[0, 2] = np.nan
    _after_logits(model, "Add", [_constant(model, "nan", values)])


def endless(model: Any) -> None:
    """Put a loop of 2^62 rounds behind the logits."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["held"], ["kept"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("number", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", onnx.TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", onnx.TensorProto.FLOAT, None),
        ],
    )
    rounds = _constant(model, "rounds", np.array(2**62))
    scores = _source_of_logits(model)
    model.graph.node.append(
        helper.make_node("Loop", [rounds, "", scores], ["logits"], name="loop", body=body)
    )
    _sort(model)


def greedy(model: Any) -> None:
    """Have the model fill 64 GB on its way."""
    shape = _constant(model, "shape", np.array([2**34]))
    model.graph.node.append(helper.make_node("ConstantOfShape", [shape], ["filled"], name="fill"))
    model.graph.node.append(helper.make_node("ReduceMax", ["filled"], ["most"], name="most", keepdims=0))
    _after_logits(model, "Add", ["most"])


def scaled_layer(factor: float) -> Alteration:
    """Multiply the scale of the weights of the layer in the middle: a quantiser that calibrated wrongly."""

    def alter(model: Any) -> None:
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        matrices = [name for name in tensors if name.endswith("_quantized") and len(tensors[name].dims) > 1]
        scale = tensors[matrices[len(matrices) // 2].removesuffix("_quantized") + "_scale"]
        _put(scale, (numpy_helper.to_array(scale) * factor).astype(np.float32))

    return alter


def opset(version: int, ir_version: int) -> Alteration:
    """Convert the model to another opset and IR version; what it computes stays."""

    def alter(model: Any) -> None:
        from onnx.version_converter import convert_version

        model.CopyFrom(convert_version(model, version))
        model.ir_version = ir_version

    return alter


def _put(tensor: Any, values: Any) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _constant(model: Any, name: str, values: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _source_of_logits(model: Any) -> str:
    """Rename what computes the logits, and return its new name."""
    for node in model.graph.node:
        node.output[:] = ["logits_before" if name == "logits" else name for name in node.output]
    return "logits_before"


def _after_logits(model: Any, operator: str, further: list[str], **attributes: Any) -> None:
    scores = _source_of_logits(model)
    node = helper.make_node(operator, [scores, *further], ["logits"], name="planted", **attributes)
    model.graph.node.append(node)
    _sort(model)


def _sort(model: Any) -> None:
    """Put the softmax last again: nodes stand in the order of what they need."""
    nodes = list(model.graph.node)
    nodes.sort(key=lambda node: node.name == "softmax")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
