"""Edge cases at the end of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from support.tiny_models import SAMPLES, classifier, model_bytes, npz, reference_scores, value

from envcheck.baseline.edge_cases import EDGE_CASES, add_edge_cases
from envcheck.baseline.material import Material, Source
from envcheck.contract.baseline import TensorSpec
from envcheck.contract.bundle import Bundle
from envcheck.facts.host import Target
from envcheck.smoke.inputs import check_inputs, load_npz
from envcheck.smoke.run import run_smoke

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
KINDS = st.sampled_from([np.float32, np.int64, np.uint8, np.bool_])
SIDES = st.integers(1, 4)


@given(KINDS.flatmap(lambda kind: arrays.arrays(kind, st.tuples(SIDES, SIDES, SIDES))), st.booleans())
def test_each_element_stays_between_what_was_seen_there(array: Any, free: bool) -> None:
    batch = "n" if free else array.shape[0]
    specs = [TensorSpec(name="x", dtype=array.dtype.name, shape=[batch, *array.shape[1:]])]
    inputs = {"x": array}
    extended, batching, names = add_edge_cases(inputs, specs, check_inputs(inputs, specs, "in"), "in")
    samples = len(array)
    assert batching.samples == len(extended["x"]) == samples + len(names)
    assert extended["x"].dtype == array.dtype
    np.testing.assert_array_equal(extended["x"][:samples], array)
    assert set(names) == set(EDGE_CASES)
    wanted = {"zeros": np.zeros_like(array[0]), "minima": array.min(axis=0), "maxima": array.max(axis=0)}
    for name, row in zip(names, extended["x"][samples:], strict=True):
        np.testing.assert_array_equal(row, wanted[name])


def test_inputs_without_the_batch_stay_and_text_is_repeated() -> None:
    specs = [
        TensorSpec(name="x", dtype="float32", shape=["n", 8]),
        TensorSpec(name="t", dtype="string", shape=["n"]),
        TensorSpec(name="k", dtype="float32", shape=["m"]),
        TensorSpec(name="s", dtype="float32", shape=[]),
    ]
    inputs = {"x": SAMPLES, "t": np.array(["a"] * 16), "k": np.ones(16, np.float32), "s": np.float32(1)[...]}
    extended, _, names = add_edge_cases(inputs, specs, check_inputs(inputs, specs, "in"), "in")
    assert len(names) == 3
    assert [extended[name].shape for name in "xtks"] == [(19, 8), (19,), (16,), ()]
    assert extended["t"][-1] == "a"


def material(model: bytes) -> Material:
    labels = npz({"labels": reference_scores().argmax(axis=1)})
    return Material(Source(model, "model"), Source(npz({"x": SAMPLES}), "inputs"), Source(labels, "labels"))


@pytest.mark.parametrize(("batch", "added"), [("n", 3), (4, 4), (16, 16)])
def test_they_are_measured_but_have_no_labels(
    batch: int | str, added: int, create: Callable[..., Bundle]
) -> None:
    bundle = create(material(classifier(batch)), "tiny@1", edge_cases=True, expect_accuracy=1.0)
    baseline = bundle.baseline()
    assert (baseline.samples, baseline.edge_cases) == (16 + added, added)
    output = baseline.outputs["y"]
    assert (output.shape, output.decides, output.probabilities) == ([16 + added, 4], True, True)
    reference = load_npz(bundle.members["reference.npz"], "it")["y"]
    np.testing.assert_allclose(reference[:16], reference_scores(), rtol=1e-13)
    np.testing.assert_allclose(reference[16], [0.25] * 4)
    evidence = run_smoke(bundle, Target(), fingerprint="f" * 64, quick=True).evidence
    assert evidence.accuracy == baseline.evidence.accuracy == 1.0
    assert evidence.outputs["y"].decisions is not None
    assert evidence.outputs["y"].decisions.total == 16 + added


def test_an_edge_case_that_is_meant_to_end_in_nan_may(create: Callable[..., Bundle]) -> None:
    model = model_bytes(
        [helper.make_node("Log", ["x"], ["y"])],
        [value("x", FLOAT, ["n", 8])],
        [value("y", FLOAT, ["n", 8])],
    )
    inputs = Source(npz({"x": np.abs(SAMPLES)}), "inputs")
    bundle = create(Material(Source(model, "m"), inputs), "log@1", edge_cases=True, accept_non_finite=True)
    reference = load_npz(bundle.members["reference.npz"], "it")["y"]
    assert np.isneginf(reference[16]).all()
    assert np.isfinite(reference[:16]).all()
