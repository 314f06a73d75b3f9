"""Graphs read without `onnx`, held to what `onnx` reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.sources import ROOT
from support.tiny_models import classifier, model_bytes, value

from envcheck.contract.baseline import Graph
from envcheck.contract.canonical import canonical_json
from envcheck.errors import BadInput
from envcheck.smoke.graph import read_graph
from envcheck.smoke.quantised import multiplies_quantised

DIGITS = ROOT / "examples" / "digits"
MODELS = ("cnn", "transformer", "transformer-int8")
FLOAT, UINT8, INT8, BOOL = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.BOOL


def digits(name: str) -> bytes:
    return (DIGITS / f"{name}.onnx").read_bytes()


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from all_nodes(inner)


def check_against_onnx(data: bytes) -> Graph:
    """Read `data` with both and compare what both can tell."""
    found = read_graph(data, "model.onnx")
    model = onnx.load_from_string(data)
    names = Counter(f"{n.domain}:{n.op_type}" if n.domain else n.op_type for n in all_nodes(model.graph))
    weights = {tensor.name for tensor in model.graph.initializer}
    assert sum(found.weights.values()) == found.parameters
    assert found.operators == dict(names)
    assert found.opsets == {entry.domain: entry.version for entry in model.opset_import}
    assert found.ir_version == model.ir_version
    assert found.producer == f"{model.producer_name} {model.producer_version}".strip()
    assert [spec.name for spec in found.inputs] == [
        i.name for i in model.graph.input if i.name not in weights
    ]
    for spec, declared in zip(found.outputs, model.graph.output, strict=True):
        kind = declared.type.tensor_type
        assert spec.name == declared.name
        assert spec.dtype == helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
        assert spec.shape == dims
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_example_models_are_read_as_onnx_reads_them(name: str) -> None:
    found = check_against_onnx(digits(name))
    tensors = onnx.load_from_string(digits(name)).graph.initializer
    assert found.parameters == sum(math.prod(tensor.dims) for tensor in tensors)
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.inputs] == [
        ("image", "float32", ["batch", 1, 8, 8])
    ]
    assert found.random == found.external_data == []
    assert found.size == len(digits(name))


def test_heavy_operators_are_told_of_all() -> None:
    found = read_graph(classifier(), "m")
    assert (found.operators, found.heavy) == ({"MatMul": 1, "Softmax": 1}, {"MatMul": 1})


def test_dynamically_quantised_products_are_counted_by_their_types() -> None:
    assert read_graph(digits("transformer"), "m").quantised == {}
    assert read_graph(digits("transformer-int8"), "m").quantised == {"U8S8": 18}


def quantised_product(weight: Any, activation: int = UINT8) -> bytes:
    return model_bytes(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        [value("a", activation, ["n", 4])],
        [value("y", TensorProto.INT32, ["n", 2])],
        {"w": np.ones((4, 2), weight)},
    )


@pytest.mark.parametrize(
    ("activation", "weight", "scheme"),
    [
        (UINT8, np.int8, "U8S8"),
        (UINT8, np.uint8, "U8U8"),
        (INT8, np.int8, "S8S8"),
        (INT8, np.uint8, "S8U8"),
    ],
)
def test_types_come_from_inputs_and_initialisers(activation: int, weight: Any, scheme: str) -> None:
    assert check_against_onnx(quantised_product(weight, activation)).quantised == {scheme: 1}


def qdq(zero: Any, weight: Any, *, through: list[onnx.NodeProto] | None = None) -> bytes:
    """Float in, quantised, dequantised, multiplied with dequantised weights."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["dw"]),
        *(through or []),
        helper.make_node("MatMul", ["t" if through else "d", "dw"], ["y"]),
    ]
    weights = {
        "s": np.float32(0.1),
        "z": np.array(0, zero),
        "wz": np.array(0, weight),
        "w": np.ones((4, 2), weight),
    }
    weights = {name: np.asarray(array) for name, array in weights.items()}
    return model_bytes(nodes, [value("x", FLOAT, ["n", 4])], [value("y", FLOAT, ["n", 2])], weights)


def test_a_product_between_dequantisers_is_quantised() -> None:
    assert check_against_onnx(qdq(np.uint8, np.int8)).quantised == {"U8S8": 1}
    assert check_against_onnx(qdq(np.int8, np.int8)).quantised == {"S8S8": 1}
    moved = [helper.make_node("Identity", ["d"], ["t"])]
    assert check_against_onnx(qdq(np.uint8, np.uint8, through=moved)).quantised == {"U8U8": 1}


OWN = {"domain": "com.acme"}
FORMS = {
    "QDQ": [
        helper.make_node("Own", ["x"], ["q"], **OWN),
        helper.make_node("Own", ["x"], ["w"], **OWN),
        helper.make_node("DequantizeLinear", ["q", "s"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "s"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ],
    "dynamic": [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        helper.make_node("Own", ["x"], ["w"], **OWN),
        helper.make_node("MatMulInteger", ["q", "w", "qz"], ["y"]),
    ],
    "integer": [
        helper.make_node("Own", ["x"], ["q"], **OWN),
        helper.make_node("Own", ["x"], ["w"], **OWN),
        helper.make_node("MatMulInteger", ["q", "w"], ["y"]),
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_products_of_unknown_types_are_named_by_their_form(form: str) -> None:
    constants = {"s": np.asarray(np.float32(0.1))}
    inputs, outputs = [value("x", FLOAT, ["n", 4])], [value("y", FLOAT, None)]
    data = model_bytes(FORMS[form], inputs, outputs, constants, domains=("com.acme",))
    found = read_graph(data, "m")
    assert found.quantised == {form: 1}
    assert multiplies_quantised(found.quantised)


@pytest.mark.parametrize(
    ("kind", "name", "scheme"),
    [
        (TensorProto.FLOAT8E4M3FN, "float8e4m3fn", "F8F8"),
        (TensorProto.FLOAT8E5M2, "float8e5m2", "F8F8"),
        (TensorProto.INT4, "int4", "S4S4"),
        (TensorProto.UINT4, "uint4", "U4U4"),
    ],
)
def test_types_that_numpy_does_not_know_have_names(kind: int, name: str, scheme: str) -> None:
    model = onnx.load_from_string(qdq(np.int8, np.int8))
    for tensor in model.graph.initializer:
        if tensor.name != "s":
            elements = math.prod(tensor.dims)
            tensor.CopyFrom(helper.make_tensor(tensor.name, kind, tensor.dims, [1] * elements))
    found = read_graph(model.SerializeToString(), "m")
    assert (found.weights, found.quantised) == ({"float32": 1, name: 10}, {scheme: 1})
    assert found.saturable == 0


def test_weights_alone_in_eight_bits_leave_the_product_a_float_one() -> None:
    data = model_bytes(
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["dw"]),
            helper.make_node("MatMul", ["x", "dw"], ["y"]),
        ],
        [value("x", FLOAT, ["n", 4])],
        [value("y", FLOAT, ["n", 2])],
        {"w": np.ones((4, 2), np.uint8), "s": np.asarray(np.float32(0.1))},
    )
    found = check_against_onnx(data).quantised
    assert found == {"weight-only": 1}
    assert not multiplies_quantised(found)


def branching(then: list[onnx.NodeProto], otherwise: list[onnx.NodeProto]) -> bytes:
    branches = [
        helper.make_graph(nodes, name, [], [value("r", FLOAT, None)])
        for name, nodes in (("then", then), ("else", otherwise))
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    inputs = [value("c", BOOL, []), value("x", FLOAT, ["n"])]
    return model_bytes([node], inputs, [value("y", FLOAT, None)])


def test_subgraphs_count() -> None:
    found = read_graph(
        branching(
            [helper.make_node("RandomNormalLike", ["x"], ["r"])],
            [helper.make_node("Neg", ["x"], ["m"]), helper.make_node("Neg", ["m"], ["r"])],
        ),
        "m",
    )
    assert found.operators == {"If": 1, "Neg": 2, "RandomNormalLike": 1}
    assert found.random == ["RandomNormalLike"]
    assert found.outputs[0].shape is None


@pytest.mark.parametrize(("mode", "random"), [(True, ["Dropout"]), (False, []), (None, [])])
def test_dropout_is_random_only_in_training(mode: bool | None, random: list[str]) -> None:
    weights = {"ratio": np.asarray(np.float32(0.5)), "mode": np.asarray(mode or False)}
    inputs = ["x", "ratio", "mode"] if mode is not None else ["x"]
    data = model_bytes(
        [helper.make_node("Dropout", inputs, ["y"])],
        [value("x", FLOAT, ["n"])],
        [value("y", FLOAT, ["n"])],
        weights,
    )
    assert check_against_onnx(data).random == random


def test_weights_in_other_files_are_named(tmp_path: Path) -> None:
    model = onnx.load_from_string(classifier())
    onnx.save_model(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert read_graph((tmp_path / "m.onnx").read_bytes(), "m").external_data == ["w.bin"]


def test_own_domains_keep_their_name_and_local_functions_are_looked_into() -> None:
    double = helper.make_function(
        "own", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Double", ["x"], ["m"], domain="own"),
            helper.make_node("Gelu", ["m"], ["y"], domain="com.microsoft"),
        ],
        "g",
        [value("x", FLOAT, ["n"])],
        [value("y", FLOAT, ["n"])],
    )
    versions = {"": 13, "own": 1, "com.microsoft": 1}
    opsets = [helper.make_opsetid(name, version) for name, version in versions.items()]
    model = helper.make_model(graph, functions=[double], opset_imports=opsets, ir_version=8)
    found = read_graph(model.SerializeToString(), "m")
    assert found.operators == {"Add": 1, "com.microsoft:Gelu": 1}
    assert found.opsets == {"": 13, "own": 1, "com.microsoft": 1}


def test_constants_count_as_parameters_and_unpacked_dimensions_are_read() -> None:
    tensor = numpy_helper.from_array(np.ones((3, 5), np.float32), "k")
    data = model_bytes(
        [helper.make_node("Constant", [], ["k"], value=tensor), helper.make_node("Identity", ["k"], ["y"])],
        [],
        [value("y", FLOAT, [3, 5])],
    )
    assert check_against_onnx(data).parameters == 15


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"<html>", b"\x08\x07", b"\x80" * 20, b"hello world"])
def test_what_is_no_model_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^photo\.jpg is not an ONNX file: ") as refused:
        read_graph(data, "photo.jpg")
    assert "export" in refused.value.hint


def field(number: int, content: bytes) -> bytes:
    """One field of bytes in protobuf's wire format."""
    length, size = len(content), b""
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def nested(depth: int) -> bytes:
    """A model of graphs inside of graphs; protobuf's own library neither writes nor reads so many."""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"body") + field(6, graph)
        graph = field(1, field(4, b"Loop") + field(5, attribute))
    return b"\x08\x08" + field(7, graph + field(12, field(1, b"y")))


def test_tensors_in_attributes_may_lie_elsewhere_too() -> None:
    tensor = helper.make_tensor("v", FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("ConstantOfShape", ["s"], ["y"], value=tensor)
    model = model_bytes([node], [value("s", TensorProto.INT64, [1])], [value("y", FLOAT, None)])
    assert read_graph(model, "m").external_data == ["/etc/passwd"]


def test_nesting_is_bounded() -> None:
    assert read_graph(nested(20), "m").operators == {"Loop": 20}
    for depth in (40, 5000):
        with pytest.raises(BadInput, match="nested deeper"):
            read_graph(nested(depth), "m")


def test_claims_beyond_any_machine_are_refused() -> None:
    claiming = onnx.load_from_string(classifier())
    claiming.graph.initializer[0].dims[:] = [2**40, 2**40]
    with pytest.raises(BadInput, match="more elements"):
        read_graph(claiming.SerializeToString(), "m")


def survives(data: bytes) -> None:
    """Whatever the bytes are: a graph that can be written down, or BadInput."""
    try:
        found = read_graph(data, "m")
    except BadInput:
        return
    canonical_json(found)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    survives(data)


SMALL = classifier()


@given(st.integers(0, len(SMALL)))
def test_any_truncation_is_read_or_refused(length: int) -> None:
    survives(SMALL[:length])


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for place, byte in changes:
        data[place] = byte
    survives(bytes(data))
