"""Print agent/envcheck/smoke/canary_models.py: the canary graphs in base64. Needs the onnx package."""

from __future__ import annotations

import base64
import textwrap

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

_HEAD = '''"""The canary graphs, ONNX files in base64: written by scripts/make_canaries.py, not by hand."""

from __future__ import annotations
'''


def canary_graph() -> bytes:
    """Build one graph of tiny independent parts, old enough for onnxruntime 1.16 and earlier."""
    nodes = [
        helper.make_node("MatMulInteger", ["bytes", "weights"], ["u8s8"]),
        helper.make_node("MatMulInteger", ["bytes", "large"], ["u8u8"]),
        *quantised_product(),
        helper.make_node("Mul", ["small", "smaller"], ["denormals"]),
        helper.make_node("MatMul", ["left", "right"], ["fma"]),
        helper.make_node("Exp", ["points"], ["exp"]),
        helper.make_node("Tanh", ["points"], ["tanh"]),
        helper.make_node("Erf", ["points"], ["erf"]),
        helper.make_node("MatMul", ["rows", "columns"], ["products"]),
        # Of an output, not of an input: the order of a sum may depend on where its memory begins.
        helper.make_node("ReduceSum", ["products"], ["sums"], keepdims=0),
        *float_products(),
    ]
    inputs = [
        tensor("bytes", TensorProto.UINT8, 4, 64),
        tensor("large", TensorProto.UINT8, 64, 16),
        tensor("signed", TensorProto.FLOAT, 4, 64),
        tensor("small", TensorProto.FLOAT, 4),
        tensor("smaller", TensorProto.FLOAT, 4),
        tensor("left", TensorProto.FLOAT, 4, 2),
        tensor("right", TensorProto.FLOAT, 2, 16),
        tensor("points", TensorProto.FLOAT, 64),
        tensor("rows", TensorProto.FLOAT, 8, 96),
        tensor("columns", TensorProto.FLOAT, 96, 24),
        *(tensor(name, TensorProto.FLOAT, 64, 64) for name in ("precise", "halves", "ones")),
    ]
    outputs = [
        *(tensor(name, TensorProto.INT32, 4, 16) for name in ("u8s8", "u8u8")),
        tensor("s8s8", TensorProto.FLOAT, 4, 16),
        tensor("denormals", TensorProto.FLOAT, 4),
        tensor("fma", TensorProto.FLOAT, 4, 16),
        *(tensor(name, TensorProto.FLOAT, 64) for name in ("exp", "tanh", "erf")),
        tensor("products", TensorProto.FLOAT, 8, 24),
        tensor("sums", TensorProto.FLOAT),
        *(tensor(name, TensorProto.FLOAT, 64, 64) for name in ("tf32", "float16")),
    ]
    weights = {
        "weights": np.full((64, 16), 127, dtype=np.int8),
        "zero": np.array(0, dtype=np.int8),
        "one": np.array(1, dtype=np.float32),
        "step": np.array(16384, dtype=np.float32),
    }
    return model("canaries", nodes, inputs, outputs, weights)


def served_graph() -> bytes:
    """Build the products of floats alone, for the provider that serves the model."""
    square = [tensor(name, TensorProto.FLOAT, 64, 64) for name in ("precise", "halves", "ones")]
    results = [tensor(name, TensorProto.FLOAT, 64, 64) for name in ("tf32", "float16")]
    return model("served", float_products(), square, results)


def bfloat16_graph() -> bytes:
    """Build a product of bfloat16, alone: many builds have no kernel for it and refuse the whole graph."""
    square = [tensor(name, TensorProto.FLOAT, 64, 64) for name in ("brains", "ones", "bfloat16")]
    return model(
        "bfloat16", narrow_product("brains", TensorProto.BFLOAT16, "bfloat16"), square[:2], square[2:]
    )


def quantised_product() -> list[NodeProto]:
    """Build a product as quantisers write it: int8 throughout, which onnxruntime turns into uint8 on x86."""
    return [
        helper.make_node("QuantizeLinear", ["signed", "one", "zero"], ["signed-quantised"]),
        helper.make_node("DequantizeLinear", ["signed-quantised", "one", "zero"], ["signed-again"]),
        helper.make_node("DequantizeLinear", ["weights", "one", "zero"], ["weights-again"]),
        helper.make_node("MatMul", ["signed-again", "weights-again"], ["signed-product"]),
        helper.make_node("QuantizeLinear", ["signed-product", "step", "zero"], ["product-quantised"]),
        helper.make_node("DequantizeLinear", ["product-quantised", "step", "zero"], ["s8s8"]),
    ]


def float_products() -> list[NodeProto]:
    product = helper.make_node("MatMul", ["precise", "ones"], ["tf32"])
    return [product, *narrow_product("halves", TensorProto.FLOAT16, "float16")]


def narrow_product(source: str, kind: int, result: str) -> list[NodeProto]:
    return [
        helper.make_node("Cast", [source], [f"{result}-left"], to=kind),
        helper.make_node("Cast", ["ones"], [f"{result}-right"], to=kind),
        helper.make_node("MatMul", [f"{result}-left", f"{result}-right"], [f"{result}-product"]),
        helper.make_node("Cast", [f"{result}-product"], [result], to=TensorProto.FLOAT),
    ]


def tensor(name: str, kind: int, *shape: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def model(
    name: str,
    nodes: list[NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    weights: dict[str, np.ndarray] | None = None,
) -> bytes:
    tensors = [numpy_helper.from_array(array, title) for title, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 13)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=7, producer_name="envcheck")
    return bytes(made.SerializeToString())


def main() -> None:
    print(_HEAD.rstrip())
    graphs = {"CANARIES": canary_graph(), "SERVED": served_graph(), "BFLOAT16": bfloat16_graph()}
    for title, data in graphs.items():
        text = textwrap.fill(base64.b64encode(data).decode("ascii"), 96)
        print(f'\n{title} = """')
        print(textwrap.indent(text, "    "))
        print('"""')


if __name__ == "__main__":
    main()
