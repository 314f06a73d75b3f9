"""A seeded ResNet-50: 25.6 million float32 weights of no use, as one ONNX file, with golden inputs beside it.

The shapes are those of the paper, batch normalisation folded into the convolutions. Weights are drawn so
that signals neither vanish nor explode: every sample has scores of its own.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_CLASSES = 1000
# What a block adds is kept small beside what it adds it to.
_GAIN = 0.3


class _Builder:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weight(self, shape: tuple[int, ...], spread: float) -> str:
        name = f"weight{len(self.weights)}"
        values = (self.random.standard_normal(shape, dtype=np.float32) * spread).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, source: str, of: int, to: int, size: int, stride: int = 1, gain: float = 1.0) -> str:
        kernel = self.weight((to, of, size, size), gain * math.sqrt(2 / (of * size * size)))
        inputs = [source, kernel, self.weight((to,), 0.05)]
        return self.node("Conv", inputs, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)

    def block(self, source: str, of: int, width: int, stride: int) -> str:
        to = 4 * width
        inner = self.node("Relu", [self.conv(source, of, width, 1)])
        inner = self.node("Relu", [self.conv(inner, width, width, 3, stride)])
        inner = self.conv(inner, width, to, 1, gain=_GAIN)
        shortcut = source if of == to and stride == 1 else self.conv(source, of, to, 1, stride)
        return self.node("Relu", [self.node("Add", [inner, shortcut])])


def resnet(seed: int = 1) -> bytes:
    """Return the model: `image` float32 [n, 3, h, w] in, `scores` float32 [n, 1000] out."""
    made = _Builder(seed)
    signal = made.node("Relu", [made.conv("image", 3, 64, 7, 2)])
    signal = made.node("MaxPool", [signal], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    of = 64
    for count, width, stride in _STAGES:
        for number in range(count):
            signal = made.block(signal, of, width, stride if number == 0 else 1)
            of = 4 * width
    signal = made.node("Flatten", [made.node("GlobalAveragePool", [signal])])
    head = [signal, made.weight((of, _CLASSES), 1 / math.sqrt(of)), made.weight((_CLASSES,), 0.01)]
    made.nodes.append(helper.make_node("Gemm", head, ["scores"], name="scores"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", _CLASSES])
    graph = helper.make_graph(made.nodes, "resnet50", [image], [scores], made.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString())


def write_resnet(folder: Path, samples: int, side: int) -> tuple[Path, Path]:
    """Write the model and so many images of `side` pixels; return both paths."""
    model, inputs = folder / "resnet.onnx", folder / f"resnet-{samples}x{side}.npz"
    if not model.exists():
        model.write_bytes(resnet())
    shape = (samples, 3, side, side)
    np.savez(inputs, image=np.random.default_rng(2).standard_normal(shape, dtype=np.float32))
    return model, inputs
