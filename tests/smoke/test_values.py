"""Sequences, maps and text as outputs: what the child makes of them, by hand and through real sessions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.tiny_models import SAMPLES, WEIGHTS, make_bundle, model_bytes, reference_scores, value

from envcheck.contract.baseline import OutputReference
from envcheck.facts.host import Target
from envcheck.smoke import child_values
from envcheck.smoke.run import run_smoke

X = value("x", TensorProto.FLOAT, ["n", 8])


def flat(kind: str, *parts: Any) -> dict[str, Any]:
    found = child_values.flatten(np, {"y": kind}, [[part] for part in parts])
    return {name: array.tolist() for name, array in found.items()}


def test_a_classifiers_maps_are_one_table_beside_its_classes() -> None:
    maps = [{"b": 0.25, "a": 0.75}, {"a": 0.5, "b": 0.5}]
    assert flat("float32", maps) == {"y": [[0.75, 0.25], [0.5, 0.5]], "y.keys": ["a", "b"]}
    assert flat("float32", maps[:1], maps[1:]) == flat("float32", maps)


@pytest.mark.parametrize(
    ("given_value", "found"),
    [
        ({3: 1.5, 1: 0.5}, {"y": [0.5, 1.5], "y.keys": [1, 3]}),
        ([np.zeros(2), np.ones(1)], {"y[0]": [0, 0], "y[1]": [1]}),
        ([], {"y": []}),
        (None, {}),
        (
            [{1: 0.5}, {2: 0.5}],
            {"y[0]": [0.5], "y[0].keys": [1], "y[1]": [0.5], "y[1].keys": [2]},
        ),
        ({"a": np.ones(2), "b": np.ones(1)}, {"y[a]": [1, 1], "y[b]": [1], "y.keys": ["a", "b"]}),
        ([{"a": np.ones(2)}], {"y[0][a]": [1, 1], "y.keys": ["a"]}),
        (np.float32(2.5), {"y": 2.5}),
    ],
)
def test_every_container_becomes_plain_arrays(given_value: Any, found: dict[str, Any]) -> None:
    assert flat("float32", given_value) == found


@given(st.lists(st.dictionaries(st.integers(0, 5), st.floats(0, 1, width=32), max_size=4), max_size=4))
def test_what_is_flattened_holds_every_number(maps: list[dict[int, float]]) -> None:
    found = flat("float32", maps)
    arrays = [np.ravel(array) for name, array in found.items() if not name.endswith(".keys")]
    assert sorted(number for array in arrays for number in array.tolist()) == sorted(
        number for one in maps for number in one.values()
    )


def test_an_endless_sequence_is_refused() -> None:
    with pytest.raises(child_values.Unusable, match="more than 256 parts"):
        flat("float32", [np.zeros(1)] * 100_000)


def test_a_map_cannot_be_joined_from_batches() -> None:
    with pytest.raises(child_values.Unusable, match="can't be joined"):
        flat("float32", {1: 0.5}, {1: 0.5})


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        ("tensor(float)", "float32"),
        ("seq(map(int64,tensor(float)))", "float32"),
        ("map(string,tensor(double))", "float64"),
        ("optional(seq(tensor(string)))", "str"),
    ],
)
def test_element_types_are_found_inside_containers(kind: str, element: str) -> None:
    session = SimpleNamespace(get_outputs=lambda: [SimpleNamespace(name="y", type=kind)])
    assert child_values.readable_outputs(session) == {"y": element}


@pytest.mark.parametrize("kind", ["tensor(bfloat16)", "sparse_tensor(float)", "seq(tensor(float8e4m3fn))"])
def test_types_that_numpy_cannot_hold_are_refused(kind: str) -> None:
    session = SimpleNamespace(get_outputs=lambda: [SimpleNamespace(name="y", type=kind)])
    with pytest.raises(child_values.Unusable, match="which can't be compared"):
        child_values.readable_outputs(session)


def classifier_with_maps(labels: dict[str, Any]) -> bytes:
    """What skl2onnx makes of a classifier: the last node turns scores into a map for each sample."""
    key = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
    maps = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    kind = helper.make_sequence_type_proto(maps)
    return model_bytes(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Softmax", ["z"], ["p"], axis=-1),
            helper.make_node("ZipMap", ["p"], ["y"], domain="ai.onnx.ml", **labels),
        ],
        [X],
        [helper.make_value_info("y", kind)],
        {"w": WEIGHTS},
        domains=("ai.onnx.ml",),
    )


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        ({"classlabels_int64s": [3, 1, 4, 2]}, np.array([1, 2, 3, 4])),
        ({"classlabels_strings": ["cat", "ant", "dog", "bee"]}, np.array(["ant", "bee", "cat", "dog"])),
    ],
)
@pytest.mark.parametrize("quick", [True, False])
def test_a_classifier_that_gives_maps_is_compared_by_its_scores(
    labels: dict[str, Any], keys: Any, quick: bool
) -> None:
    order = [1, 3, 0, 2]
    scores = reference_scores()[:, order]
    key_type = "string" if keys.dtype.kind == "U" else "int64"
    bundle = make_bundle(
        classifier_with_maps(labels),
        {"x": SAMPLES},
        {"y": scores, "y.keys": keys},
        {
            "y": OutputReference(dtype="float32", shape=[16, 4], decides=True, probabilities=True),
            "y.keys": OutputReference(dtype=key_type, shape=[4], exact=True),
        },
    )
    found = run_smoke(bundle, Target(), fingerprint="f", quick=quick).evidence
    assert (found.ending.status, found.repeatable) == ("ok", True)
    table, names = found.outputs["y"], found.outputs["y.keys"]
    assert (table.problem, names.problem, names.differing) == ("", "", 0)
    assert (table.rmse or 1) < 1e-6
    assert (table.divergence or 0) < 1e-9
    assert table.decisions is not None
    assert (table.decisions.total, table.decisions.flipped) == (16, 0)
    assert (table.batching_max is None) is quick


def test_a_sequence_of_tensors_is_compared_part_by_part() -> None:
    split = helper.make_tensor("split", TensorProto.INT64, [2], [4, 12])
    model = model_bytes(
        [
            helper.make_node("Constant", [], ["split"], value=split),
            helper.make_node("SplitToSequence", ["x", "split"], ["y"], axis=0),
        ],
        [X],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    wide = SAMPLES.astype(np.float64)
    references = {"y[0]": wide[:4], "y[1]": wide[4:]}
    expected = {
        name: OutputReference(dtype="float32", shape=list(array.shape)) for name, array in references.items()
    }
    found = run_smoke(
        make_bundle(model, {"x": SAMPLES}, references, expected), Target(), fingerprint="f", quick=True
    ).evidence
    assert {name: output.max_abs for name, output in found.outputs.items()} == {"y[0]": 0.0, "y[1]": 0.0}


def test_text_is_compared_exactly() -> None:
    names = np.array([["ä", "b"], ["", "longer than the rest"]])
    model = model_bytes(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", TensorProto.STRING, ["n", 2])],
        [value("y", TensorProto.STRING, ["n", 2])],
    )
    changed = names.copy()
    changed[0, 0] = "a"
    expected = {"y": OutputReference(dtype="string", shape=[2, 2], exact=True)}
    for reference, differing in ((names, 0), (changed, 1)):
        bundle = make_bundle(model, {"x": names}, {"y": reference}, expected)
        output = run_smoke(bundle, Target(), fingerprint="f").evidence.outputs["y"]
        assert (output.problem, output.differing, output.batching_max) == ("", differing, 0.0)
