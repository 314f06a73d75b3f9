"""What an output is taken for: scores, probabilities, or what a random model draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.tiny_models import SAMPLES, WEIGHTS, classifier, model_bytes, npz, value

from envcheck.baseline.material import Material, Source
from envcheck.contract.baseline import OutputReference
from envcheck.contract.bundle import Bundle
from envcheck.errors import BadInput

FLOAT = TensorProto.FLOAT
Create = Callable[..., Bundle]


def made_of(model: bytes) -> Material:
    return Material(Source(model, "model"), Source(npz({"x": SAMPLES}), "inputs"))


def chain(*operators: str, shape: list[int | str | None] | None = None) -> bytes:
    """From x [n, 8] through one operator after the other to y."""
    names = ["x", *(f"t{number}" for number in range(1, len(operators))), "y"]
    nodes = [
        helper.make_node(operator, [before], [after])
        for operator, before, after in zip(operators, names, names[1:], strict=False)
    ]
    return model_bytes(nodes, [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, shape)])


def output(bundle: Bundle) -> OutputReference:
    (found,) = bundle.baseline().outputs.values()
    return found


@pytest.mark.parametrize(
    ("model", "probabilities"),
    [
        (classifier(), True),
        (chain("Softmax"), True),
        (chain("Sigmoid"), False),
        (chain("Neg"), False),
        (chain("LogSoftmax"), False),
    ],
    ids=["linear and softmax", "softmax", "sigmoid", "negative", "logarithms"],
)
def test_probabilities_are_what_sums_to_one(model: bytes, probabilities: bool, create: Create) -> None:
    assert output(create(made_of(model), "tiny@1")).probabilities is probabilities


def noisy() -> bytes:
    """A linear layer and noise of its own on every element."""
    return model_bytes(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("RandomNormalLike", ["z"], ["noise"], scale=0.5),
            helper.make_node("Add", ["z", "noise"], ["y"]),
        ],
        [value("x", FLOAT, ["n", 8])],
        [value("y", FLOAT, ["n", 4])],
        {"w": WEIGHTS},
    )


def test_what_is_random_has_no_floor_and_says_so(create: Create) -> None:
    told: list[str] = []
    bundle = create(made_of(noisy()), "noisy@1", notice=told.append)
    baseline = bundle.baseline()
    assert baseline.graph.random == ["RandomNormalLike"]
    assert output(bundle).floor is None
    assert (output(bundle).exact, output(bundle).shape) == (False, [16, 4])
    assert baseline.evidence.repeatable is False
    assert len(told) == 1
    assert "model draws random numbers (RandomNormalLike): only shapes and statistics" in told[0]


def test_a_random_shape_can_not_be_compared(create: Create) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"]),
        helper.make_node("Greater", ["r", "zero"], ["up"]),
        helper.make_node("NonZero", ["up"], ["y"]),
    ]
    shapes = [value("x", FLOAT, ["n", 8])], [value("y", TensorProto.INT64, [2, None])]
    model = model_bytes(nodes, *shapes, {"zero": np.array(0, np.float32)})
    with pytest.raises(BadInput, match="the shape of output y is random"):
        create(made_of(model), "random@1")
