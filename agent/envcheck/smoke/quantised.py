"""Which nodes of a graph multiply quantised numbers, and of which element types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from envcheck.smoke.nodes import Node, Nodes, Scope

# Operator -> the indexes of (activation, its zero point, weight, its zero point).
_PRODUCTS = {
    "MatMulInteger": (0, 2, 1, 3),
    "ConvInteger": (0, 2, 1, 3),
    "QLinearMatMul": (0, 2, 3, 5),
    "QLinearConv": (0, 2, 3, 5),
    "QGemm": (0, 2, 3, 5),
    "MatMulIntegerToFloat": (0, 4, 1, 5),
    "DynamicQuantizeMatMul": (-1, -1, 1, 3),
    "DynamicQuantizeLSTM": (-1, -1, 1, -1),
    "QAttention": (0, 6, 1, 7),
}
# Operators that multiply floats, and integers once they stand between DequantizeLinear and QuantizeLinear.
_FLOAT_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "FusedMatMul")
_WEIGHT_ONLY = ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4")
# Operators that give the element type of their first input.
_PASSING = {
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
_FLOAT8 = ("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
_SHORT = {
    f"{sign}int{bits}": f"{short}{bits}" for bits in (2, 4, 8, 16) for sign, short in (("", "S"), ("u", "U"))
}
_SHORT |= {"float4e2m1": "F4", **dict.fromkeys(_FLOAT8, "F8")}
_MAX_STEPS = 64


def count_schemes(nodes: Nodes) -> dict[str, int]:
    """Count the nodes that multiply quantised numbers, each once, by scheme.

    A scheme names the element types (`U8S8`: uint8 activations, int8 weights) where both are known, else the
    node's form (`QDQ`, `dynamic`, `integer`). A `weight-only` node multiplies floats.
    """
    found: Counter[str] = Counter()
    for node, scope in nodes.each():
        if node.operator in _PRODUCTS:
            found[_integer_product(node, scope)] += 1
        elif node.operator in _FLOAT_PRODUCTS:
            found.update(_float_product(node, scope))
        elif node.operator in _WEIGHT_ONLY:
            found["weight-only"] += 1
    return dict(sorted(found.items()))


def multiplies_quantised(quantised: Mapping[str, int]) -> bool:
    """Tell from a graph's schemes whether its errors are those of quantisation, not of rounding."""
    return any(scheme != "weight-only" for scheme in quantised)


def _integer_product(node: Node, scope: Scope) -> str:
    activation, activation_zero, weight, weight_zero = _PRODUCTS[node.operator]
    producer = _origin(node.input(activation), scope) if activation >= 0 else None
    dynamic = activation < 0 or (producer is not None and producer.operator == "DynamicQuantizeLinear")
    return _scheme(
        _type_of(node, activation, activation_zero, scope),
        _type_of(node, weight, weight_zero, scope),
        "dynamic" if dynamic else "integer",
    )


def _float_product(node: Node, scope: Scope) -> list[str]:
    activation, weight = (_dequantiser(node.input(index), scope) for index in (0, 1))
    if activation is not None and weight is not None:
        return [_scheme(_type_of(activation, 0, 2, scope), _type_of(weight, 0, 2, scope), "QDQ")]
    return ["weight-only"] if weight is not None else []


def _dequantiser(name: str, scope: Scope) -> Node | None:
    node = _origin(name, scope)
    return node if node is not None and node.operator == "DequantizeLinear" else None


def _type_of(node: Node, index: int, zero_index: int, scope: Scope) -> str:
    """Return the element type of an input: its zero point's, its own, or that of what gives it.

    An index of -1 stands for what the operator quantises itself, which is uint8.
    """
    if index < 0:
        return "uint8"
    zero = node.input(zero_index) if zero_index >= 0 else ""
    return (_declared(zero, scope) if zero else "") or _declared(node.input(index), scope)


def _declared(name: str, scope: Scope) -> str:
    for _ in range(_MAX_STEPS):
        known = scope.declared(name)
        producer = scope.producer(name)
        if known or producer is None:
            return known
        if producer.operator == "DynamicQuantizeLinear":
            return "uint8"
        if producer.operator == "QuantizeLinear":
            # Without a zero point ONNX says uint8.
            return (scope.declared(producer.input(2)) if producer.input(2) else "") or "uint8"
        if producer.operator not in _PASSING:
            return ""
        name = producer.input(0)
    return ""


def _origin(name: str, scope: Scope) -> Node | None:
    """Return the node that gives `name`, looking through operators that only move elements."""
    for _ in range(_MAX_STEPS):
        producer = scope.producer(name)
        if producer is None or producer.operator not in _PASSING:
            return producer
        name = producer.input(0)
    return None


def _scheme(activation: str, weight: str, form: str) -> str:
    known = activation in _SHORT and weight in _SHORT
    return _SHORT[activation] + _SHORT[weight] if known else form
