"""The model in double precision, or why it can't be had."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.example_models import example
from support.tiny_models import SAMPLES, WEIGHTS, classifier, model_bytes, npz, reference_scores, value

from envcheck.baseline.double import evaluate_in_double
from envcheck.baseline.material import Material, Prepared, Source, prepare

FLOAT = TensorProto.FLOAT


def prepared(model: bytes) -> Prepared:
    return prepare(Material(Source(model, "model"), Source(npz({"x": SAMPLES}), "inputs")))


def evaluated(model: bytes) -> Any:
    found = evaluate_in_double(prepared(model))
    assert not isinstance(found, str), found
    assert found["y"].dtype == np.float64
    return found["y"]


@pytest.mark.parametrize("batch", ["n", 4, 16])
def test_it_is_the_sum_done_in_double(batch: int | str) -> None:
    np.testing.assert_allclose(evaluated(classifier(batch)), reference_scores(), rtol=1e-14)


def test_casts_and_constants_are_widened_but_keep_their_value() -> None:
    nodes = [
        helper.make_node("Constant", [], ["tenth"], value_float=0.1),
        helper.make_node("Constant", [], ["third"], value=numpy_helper.from_array(np.float32([1 / 3]))),
        helper.make_node("Cast", ["x"], ["c"], to=FLOAT),
        helper.make_node("Mul", ["c", "tenth"], ["m"]),
        helper.make_node("Mul", ["m", "third"], ["y"]),
    ]
    model = model_bytes(nodes, [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, ["n", 8])])
    wanted = SAMPLES.astype(np.float64) * np.float64(np.float32(0.1)) * np.float64(np.float32(1 / 3))
    np.testing.assert_array_equal(evaluated(model), wanted)


def test_branches_are_widened_too() -> None:
    branches = [
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["r"])], name, [], [value("r", FLOAT, ["n", 4])]
        )
        for name in ("then", "else")
    ]
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    model = model_bytes(nodes, [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, ["n", 4])], {"w": WEIGHTS})
    np.testing.assert_allclose(evaluated(model), SAMPLES.astype(float) @ WEIGHTS.astype(float), rtol=1e-14)


def test_the_parts_of_a_sequence_are_had_each() -> None:
    sequence = helper.make_tensor_sequence_value_info("s", FLOAT, None)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("SequenceConstruct", ["z", "x"], ["s"]),
    ]
    found = evaluate_in_double(
        prepared(model_bytes(nodes, [value("x", FLOAT, ["n", 8])], [sequence], {"w": WEIGHTS}))
    )
    assert not isinstance(found, str), found
    assert sorted(found) == ["s[0]", "s[1]"]
    np.testing.assert_allclose(found["s[0]"], SAMPLES.astype(float) @ WEIGHTS.astype(float), rtol=1e-14)


def test_what_can_not_be_had_says_why() -> None:
    node = helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft")
    model = model_bytes(
        [node],
        [value("x", FLOAT, ["n", 8])],
        [value("y", FLOAT, ["n", 4])],
        {"w": WEIGHTS},
        domains=("com.microsoft",),
    )
    assert "onnx's reference evaluator can't run it" in str(evaluate_in_double(prepared(model)))
    assert "quantised" in str(evaluate_in_double(prepare(example("transformer-int8.onnx"))))
    assert "s in double precision" in str(evaluate_in_double(prepare(example("cnn.onnx")), budget_s=0.0))


def test_a_long_reason_is_one_line_that_ends_with_a_word() -> None:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[*range(8)])
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
    output = helper.make_value_info("y", helper.make_sequence_type_proto(maps))
    model = model_bytes([node], [value("x", FLOAT, ["n", 8])], [output], domains=("ai.onnx.ml",))
    told = str(evaluate_in_double(prepared(model)))
    assert told.isprintable()
    assert "operator 'ZipMap' and domain 'ai.onnx.ml'" in told
    assert told.endswith(", ...)")
