"""Print the canary graph that agent/envcheck/smoke/canaries.py ships, in base64; needs the onnx package."""

from __future__ import annotations

import base64
import textwrap

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def canary_graph() -> bytes:
    """Build one graph of tiny independent parts, old enough for onnxruntime 1.16 and earlier."""
    weights = np.full((64, 16), 127, dtype=np.int8)
    nodes = [
        helper.make_node("MatMulInteger", ["bytes", "weights"], ["u8s8"]),
        helper.make_node("Mul", ["small", "smaller"], ["denormals"]),
        helper.make_node("MatMul", ["left", "right"], ["fma"]),
        helper.make_node("Exp", ["points"], ["exp"]),
        helper.make_node("Tanh", ["points"], ["tanh"]),
        helper.make_node("Erf", ["points"], ["erf"]),
    ]
    inputs = [
        helper.make_tensor_value_info("bytes", TensorProto.UINT8, [4, 64]),
        helper.make_tensor_value_info("small", TensorProto.FLOAT, [4]),
        helper.make_tensor_value_info("smaller", TensorProto.FLOAT, [4]),
        helper.make_tensor_value_info("left", TensorProto.FLOAT, [4, 2]),
        helper.make_tensor_value_info("right", TensorProto.FLOAT, [2, 16]),
        helper.make_tensor_value_info("points", TensorProto.FLOAT, [64]),
    ]
    outputs = [
        helper.make_tensor_value_info("u8s8", TensorProto.INT32, [4, 16]),
        helper.make_tensor_value_info("denormals", TensorProto.FLOAT, [4]),
        helper.make_tensor_value_info("fma", TensorProto.FLOAT, [4, 16]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in ("exp", "tanh", "erf")),
    ]
    graph = helper.make_graph(
        nodes, "canaries", inputs, outputs, [numpy_helper.from_array(weights, "weights")]
    )
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=7, producer_name="envcheck")
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    print(textwrap.fill(base64.b64encode(canary_graph()).decode("ascii"), 96))
