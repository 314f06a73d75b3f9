"""What values an output holds: ranges, probabilities, units of the last place, batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from envcheck.contract.baseline import OutputReference
from envcheck.contract.canonical import canonical_json
from envcheck.contract.evidence import OutputMetrics
from envcheck.smoke.metrics import compare_batching, compare_outputs

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)
DOUBLES = hnp.arrays(np.float64, SHAPES, elements=st.floats())
ROWS = hnp.arrays(np.float32, (4, 5), elements=st.floats(2.0**-20, 1, width=32))


def compare(actual: NDArray[Any], reference: NDArray[Any] | None = None, **changed: bool) -> OutputMetrics:
    exact = actual.dtype.kind not in "fc"
    reference = (actual if exact else actual.astype(np.float64)) if reference is None else reference
    name = "string" if actual.dtype.kind == "U" else actual.dtype.name
    expected = OutputReference(dtype=name, shape=list(reference.shape), exact=exact, **changed)
    return compare_outputs({"y": actual}, {"y": reference}, {"y": expected})["y"]


@given(DOUBLES)
def test_a_range_is_that_of_the_finite_values(array: NDArray[np.float64]) -> None:
    found = compare(array)
    finite = np.clip(array[np.isfinite(array)], -1e308, 1e308)
    if not finite.size:
        assert (found.low, found.high, found.mean, found.deviation) == (None, None, None, None)
        return
    assert found.low == pytest.approx(finite.min(), rel=0.006)
    assert found.high == pytest.approx(finite.max(), rel=0.006)
    assert found.low is not None
    assert found.mean is not None
    assert found.high is not None
    assert found.deviation is not None
    assert found.low <= found.mean <= found.high
    assert 0 <= found.deviation / 2 <= (found.high / 2 - found.low / 2) * 1.02 + 1e-300


def test_mean_and_deviation_are_those_of_statistics() -> None:
    values = np.random.default_rng(1).normal(3, 2, 1000).astype(np.float32)
    found = compare(values)
    assert found.mean == pytest.approx(values.mean(), rel=0.006)
    assert found.deviation == pytest.approx(values.std(), rel=0.006)


@pytest.mark.parametrize("array", [np.array([3, -1, 2], np.int64), np.array([1, 255], np.uint8)])
def test_integers_have_a_range_and_no_units_of_the_last_place(array: NDArray[Any]) -> None:
    found = compare(array)
    assert (found.low, found.high, found.ulps) == (float(array.min()), float(array.max()), None)


@pytest.mark.parametrize("array", [np.array([True]), np.array(["a"]), np.zeros(0, np.float32)])
def test_what_has_no_range_gets_none(array: NDArray[Any]) -> None:
    assert (compare(array).low, compare(array).ulps) == (None, None)


@given(DOUBLES, st.data())
def test_descriptions_always_have_a_canonical_form(actual: NDArray[np.float64], data: st.DataObject) -> None:
    reference = data.draw(hnp.arrays(np.float64, actual.shape, elements=st.floats()))
    canonical_json(compare(actual, reference, probabilities=True))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@given(steps=st.integers(0, 40))
def test_ulps_count_the_floats_in_between(kind: type, steps: int) -> None:
    start = kind(-(2.0**-3))
    there = start
    for _ in range(steps):
        there = np.nextafter(there, kind(1))
    found = compare(np.array([start, 0], kind), np.array([there, 0], np.float64))
    assert found.ulps == steps


def test_ulps_are_counted_through_zero_and_both_zeros_are_one() -> None:
    tiny = np.finfo(np.float32).smallest_subnormal
    assert compare(np.array([-tiny], np.float32), np.array([float(tiny)])).ulps == 2
    assert compare(np.array([-0.0], np.float32), np.array([0.0])).ulps == 0
    widest = np.array([-np.finfo(np.float64).max])
    assert compare(widest, -widest).ulps == pytest.approx(2**64, rel=0.01)


@given(ROWS)
def test_probabilities_that_are_right_are_so_by_the_figures(raw: NDArray[np.float32]) -> None:
    there = raw.astype(np.float64) / raw.astype(np.float64).sum(axis=-1, keepdims=True)
    found = compare(there.astype(np.float32), there, probabilities=True)
    assert found.sum_error is not None
    assert found.sum_error < 1e-6
    assert found.divergence is not None
    assert 0 <= found.divergence < 1e-12


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    here, there = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    expected = sum(p * math.log(p / q) for p, q in zip(there[0], here[0], strict=True))
    found = compare(here, there, probabilities=True)
    assert (found.divergence, found.sum_error) == (pytest.approx(expected, rel=0.005), 0.0)


def test_a_certainty_that_became_impossible_diverges_by_a_finite_number() -> None:
    found = compare(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]), probabilities=True)
    assert found.divergence == pytest.approx(126 * math.log(2), rel=0.01)


def test_scores_that_sum_to_something_else_are_told() -> None:
    found = compare(np.array([[0.5, 0.4], [0.5, 0.5]]), probabilities=True)
    assert found.sum_error == pytest.approx(0.1)
    assert compare(np.array([[0.5, 0.4]])).sum_error is None


def test_an_output_that_cannot_be_compared_is_not_described() -> None:
    found = compare(np.zeros((2, 2), np.float32), np.zeros(4))
    assert (found.problem, found.low, found.ulps) == ("shape", None, None)


def batching(together: NDArray[Any], alone: NDArray[Any]) -> OutputMetrics:
    metrics = {"y": OutputMetrics(dtype=together.dtype.name)}
    return compare_batching(metrics, {"y": together}, {"y": alone})["y"]


def test_samples_alone_are_compared_with_the_first_of_the_batch() -> None:
    together = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert batching(together, together[:2]).batching_max == 0.0
    found = batching(together, together[:2] + np.float32(0.5))
    assert (found.batching_rms, found.batching_max) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("together", "alone", "largest"),
    [
        (np.array([np.nan, 1.0]), np.array([np.nan]), 0.0),
        (np.array([np.nan, 1.0]), np.array([1.0]), 1e308),
        (np.array([np.inf, 1.0]), np.array([-np.inf]), 1e308),
        (np.array([3, 4]), np.array([5]), 2.0),
        (np.array(["a", "b"]), np.array(["a"]), 0.0),
        (np.array([True, False]), np.array([False]), 1e308),
    ],
)
def test_batches_of_any_type_are_compared(
    together: NDArray[Any], alone: NDArray[Any], largest: float
) -> None:
    assert batching(together, alone).batching_max == largest


@pytest.mark.parametrize("alone", [np.zeros((2, 4)), np.zeros((5, 3)), np.zeros((2, 3), np.float32)])
def test_outputs_without_a_row_for_each_sample_are_left_out(alone: NDArray[Any]) -> None:
    assert batching(np.zeros((4, 3)), alone).batching_max is None


def test_a_sum_over_the_batch_is_no_row_of_samples() -> None:
    metrics = {"total": OutputMetrics(dtype="float64")}
    batched = {"y": np.zeros((4, 3)), "total": np.zeros(3)}
    assert compare_batching(metrics, batched, {"total": np.zeros(2)})["total"].batching_max is None
