"""Subnormal weights, wherever a model keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from support.tiny_models import classifier, model_bytes, value

from envcheck.baseline.subnormals import count_subnormals

FLOAT = TensorProto.FLOAT
WIDTHS = {np.float32: (32, 2.0**-126), np.float64: (64, 2.0**-1022)}


def around(array: Any) -> bytes:
    """A model whose one constant is `array`."""
    return model_bytes(
        [helper.make_node("Cast", ["w"], ["y"], to=FLOAT)], [], [value("y", FLOAT, None)], {"w": array}
    )


@given(
    st.sampled_from(list(WIDTHS)).flatmap(
        lambda kind: arrays.arrays(
            kind, st.integers(0, 12), elements=st.floats(-1, 1, width=WIDTHS[kind][0], allow_subnormal=True)
        )
    )
)
def test_what_is_nearer_to_zero_than_the_smallest_normal_number_counts(array: Any) -> None:
    smallest = WIDTHS[array.dtype.type][1]
    assert count_subnormals(around(array)) == np.count_nonzero((np.abs(array) < smallest) & (array != 0))


def typed(kind: int, values: list[float]) -> bytes:
    """The same with numbers that are not kept raw."""
    model = onnx.load_from_string(around(np.zeros(1, np.float32)))
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", kind, [len(values)], values))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("kind", [FLOAT, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_typed_fields_are_looked_at(kind: int) -> None:
    tiny = 1e-310 if kind == TensorProto.DOUBLE else 1e-39
    assert count_subnormals(typed(kind, [0.0, 1.0, tiny, -tiny])) == 2


def test_bfloat16_has_the_exponents_of_float32() -> None:
    model = onnx.load_from_string(around(np.zeros(4, np.float32)))
    upper = np.array([1e-39, 1e-30, -1e-40, 0], np.float32).view(np.uint32) >> 16
    raw = helper.make_tensor("w", TensorProto.BFLOAT16, [4], upper.astype("<u2").tobytes(), raw=True)
    model.graph.initializer[0].CopyFrom(raw)
    assert count_subnormals(model.SerializeToString()) == 2


def test_types_whose_small_numbers_cost_nothing_are_left_out() -> None:
    assert count_subnormals(around(np.full(4, 1e-6, np.float16))) == 0
    assert count_subnormals(around(np.ones(4, np.int8))) == 0


def test_constants_and_branches_are_looked_at() -> None:
    tensor = numpy_helper.from_array(np.full(3, 1e-40, np.float32))
    branches = [
        helper.make_graph(
            [helper.make_node("Constant", [], ["r"], value=tensor)], name, [], [value("r", FLOAT, [3])]
        )
        for name in ("then", "else")
    ]
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])
    assert count_subnormals(model_bytes([yes, choice], [], [value("y", FLOAT, [3])])) == 6
    assert count_subnormals(classifier()) == 0
