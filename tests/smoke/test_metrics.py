from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from envcheck.contract.baseline import OutputReference
from envcheck.contract.canonical import canonical_json
from envcheck.contract.evidence import Decisions, OutputMetrics
from envcheck.smoke.metrics import compare_decisions, compare_output, compare_outputs, measure_accuracy

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)
ARRAYS = hnp.arrays(np.float32, SHAPES, elements=FLOATS)
ANY_DOUBLES = hnp.arrays(np.float64, SHAPES, elements=st.floats())
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(
        *[
            hnp.arrays(np.float32, shape, elements=st.floats(width=32)) for _ in range(2)
        ]  # NaN and infinities too
    )
)


def compare(actual: NDArray[np.generic], reference: NDArray[np.generic], **changed: bool) -> OutputMetrics:
    exact = actual.dtype.kind not in "fc"
    name = "string" if actual.dtype.kind == "U" else actual.dtype.name
    expected = OutputReference(dtype=name, shape=list(reference.shape), exact=exact, **changed)
    return compare_output(actual, reference, expected)


@given(ARRAYS)
def test_an_output_equal_to_its_reference_has_no_error(array: NDArray[np.float32]) -> None:
    found = compare(array, array.astype(np.float64))
    assert (found.problem, found.rmse, found.max_abs) == ("", 0.0, 0.0)
    assert found.cosine == (1.0 if array.any() else None)


@given(PAIRS)
def test_comparing_is_symmetric(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    there, back = compare(*pair), compare(*pair[::-1])
    assert (there.rmse, there.max_abs, there.cosine) == (back.rmse, back.max_abs, back.cosine)
    assert there.problem == back.problem


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]], random: object
) -> None:
    order = np.arange(len(pair[0]))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = compare(*pair), compare(pair[0][order], pair[1][order])
    assert one.problem == other.problem
    if one.rmse is not None:
        assert one.rmse == pytest.approx(other.rmse, rel=0.02)
        assert one.max_abs == other.max_abs


@given(ANY_DOUBLES, st.data())
def test_metrics_always_have_a_canonical_form(actual: NDArray[np.float64], data: st.DataObject) -> None:
    reference = data.draw(hnp.arrays(np.float64, actual.shape, elements=st.floats()))
    canonical_json(compare(actual, reference, decides=True))


@given(ARRAYS, st.floats(min_value=2.0**-20, max_value=1e3))
def test_rmse_never_exceeds_the_largest_error(array: NDArray[np.float32], noise: float) -> None:
    reference = array.astype(np.float64) + noise * np.cos(np.arange(array.size)).reshape(array.shape)
    found = compare(array, reference)
    assert found.rmse is not None
    assert found.max_abs is not None
    assert 0 <= found.rmse <= found.max_abs * 1.01


def test_float16_is_raised_before_subtracting() -> None:
    actual = np.array([60000.0, -60000.0], np.float16)
    found = compare(actual, np.array([-60000.0, 60000.0]))
    assert found.max_abs == significant_of(2 * float(actual[0]))


def significant_of(value: float) -> float:
    return float(f"{value:.2e}")


@pytest.mark.parametrize(
    ("here", "there", "detail"),
    [
        ([np.nan, 1], [1, 1], "1 of 2 elements are NaN here, 0 in training"),
        ([np.nan, 1], [1, np.nan], "1 of 2 elements are NaN here, 1 in training, in other places"),
        ([np.inf, 1], [-np.inf, 1], "1 of 2 elements are +infinity here, 0 in training"),
        ([1, 1], [1, -np.inf], "0 of 2 elements are -infinity here, 1 in training"),
    ],
)
def test_masks_and_signs_come_before_numbers(here: list[float], there: list[float], detail: str) -> None:
    found = compare(np.array(here, np.float32), np.array(there))
    assert (found.problem, found.detail, found.rmse) == ("non-finite", detail, None)


def test_equal_masks_leave_the_finite_numbers_to_compare() -> None:
    here = np.array([np.nan, np.inf, 1.0], np.float32)
    found = compare(here, np.array([np.nan, np.inf, 3.0]))
    assert (found.problem, found.max_abs) == ("", 2.0)


def test_shape_and_type_come_before_values() -> None:
    expected = OutputReference(dtype="float32", shape=[2, 2])
    reference = np.zeros((2, 2))
    flat = compare_output(np.zeros(4, np.float32), reference, expected)
    assert (flat.problem, flat.rmse) == ("shape", None)
    assert flat.detail == "its shape is [4] here, [2, 2] in training"
    double = compare_output(np.zeros((2, 2)), reference, expected)
    assert (double.problem, double.detail) == ("dtype", "it is float64 here, float32 in training")


@pytest.mark.parametrize(
    ("here", "there", "differing"),
    [
        (np.array([1, 2, 3]), np.array([1, 2, 4]), 1),
        (np.array([True, False]), np.array([True, True]), 1),
        (np.array(["a", "b"]), np.array(["a", "bc"]), 1),
        (np.array([2**63 - 1]), np.array([2**63 - 2]), 1),
    ],
)
def test_exact_types_are_counted_element_by_element(
    here: NDArray[np.generic], there: NDArray[np.generic], differing: int
) -> None:
    found = compare(here, there)
    assert (found.differing, found.rmse) == (differing, None)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_bytes_are_counted_within_one_quantum(kind: type) -> None:
    found = compare(np.array([1, 2, 3], kind), np.array([1, 3, 9], kind))
    assert (found.differing, found.max_abs, found.within_quantum) == (2, 6.0, 0.667)
    assert compare(np.array([0, 127], kind), np.array([1, 126], kind)).within_quantum == 1.0
    assert compare(np.array([1, 2]), np.array([1, 3])).within_quantum is None


def test_a_share_is_one_only_where_all_are_within_one_quantum() -> None:
    there = np.zeros(10_000, np.int8)
    here = there.copy()
    here[0] = 2
    assert compare(here, there).within_quantum == 0.999


def test_outputs_that_are_missing_or_new_are_told() -> None:
    expected = {"y": OutputReference(dtype="float32", shape=[1])}
    found = compare_outputs({"z": np.zeros(1, np.float32)}, {"y": np.zeros(1)}, expected)
    assert {name: metrics.problem for name, metrics in found.items()} == {"y": "missing", "z": "unexpected"}


def test_decisions_count_flips_and_keep_the_largest_margin() -> None:
    reference = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    actual = np.array([[0.0, 0.9, 0.1], [0.4, 0.5, 0.1], [0.2, 0.7, 0.1]], np.float32)
    found = compare_decisions(actual, reference)
    assert found is not None
    assert (found.total, found.flipped, found.largest_margin) == (3, 2, 0.8)


@given(ARRAYS, st.integers(1, 4))
def test_equal_scores_never_flip(array: NDArray[np.float32], top: int) -> None:
    found = compare_decisions(array, array.astype(np.float64), top)
    assert found is None or found.flipped == 0


def test_a_decision_by_the_best_few_is_their_set() -> None:
    reference = np.array(
        [[9.0, 8.0, 7.0, 5.0], [9.0, 8.0, 7.0, 6.5], [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]]
    )
    within = np.array(
        [[7.0, 9.0, 8.0, 5.0], [9.0, 8.0, 7.0, 6.5], [1.0, 4.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0]]
    )
    assert compare_decisions(within, reference, 3) == Decisions(total=4, top=3)
    beyond = np.array(
        [[9.0, 8.0, 5.0, 7.0], [9.0, 8.0, 6.4, 6.5], [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]]
    )
    assert compare_decisions(beyond, reference, 3) == Decisions(total=4, flipped=2, largest_margin=2.0, top=3)
    assert compare_decisions(beyond, reference, 4) is None


@given(PAIRS)
def test_the_best_one_is_the_argmax(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    here, there = (np.nan_to_num(array, nan=-np.inf) for array in pair)
    found = compare_decisions(*pair)
    if found is not None:
        assert found.flipped == np.count_nonzero(here.argmax(axis=-1) != there.argmax(axis=-1))


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_a_decision_flips_only_within_twice_the_error(seed: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    reference, moves = rng.normal(size=(20, 6)), rng.uniform(-0.2, 0.2, size=(20, 6))
    found = compare_decisions(reference + moves, reference, top)
    assert found is not None
    assert found.largest_margin <= 0.4 * 1.01


def test_decisions_are_compared_only_where_the_baseline_says_so() -> None:
    scores = np.eye(3, dtype=np.float32)
    assert compare(scores, scores.astype(np.float64)).decisions is None
    assert compare(scores, scores.astype(np.float64), decides=True).decisions is not None


def test_a_differing_output_has_no_digest_and_equal_bytes_have_one() -> None:
    expected = {"y": OutputReference(dtype="float32", shape=[2])}
    actual, reference = {"y": np.ones(2, np.float32)}, {"y": np.ones(2)}
    stable = compare_outputs(actual, reference, expected)["y"]
    shaky = compare_outputs(actual, reference, expected, frozenset({"y"}))["y"]
    assert (len(stable.digest), shaky.digest) == (64, "")
    swapped = compare_outputs({"y": actual["y"].astype(">f4")}, reference, expected)["y"]
    assert swapped.digest == stable.digest


def test_accuracy_is_the_share_of_decisions_that_are_the_label() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    expected = {
        "features": OutputReference(dtype="float32", shape=[3, 2]),
        "y": OutputReference(dtype="float32", shape=[3, 2], decides=True),
    }
    outputs = {"features": scores[:, ::-1], "y": scores}
    assert measure_accuracy(outputs, {"labels": np.array([0, 1, 1])}, expected) == 0.667
    assert measure_accuracy(outputs, {}, expected) is None
    assert measure_accuracy(outputs, {"labels": np.array([0, 1])}, expected) is None


def test_labels_that_the_model_gives_itself_are_compared_directly() -> None:
    expected = {"label": OutputReference(dtype="int64", shape=[4], exact=True)}
    outputs = {"label": np.array([1, 2, 3, 4])}
    assert measure_accuracy(outputs, {"labels": np.array([1, 2, 3, 5])}, expected) == 0.75


def test_decisions_of_a_map_are_its_keys() -> None:
    expected = {"y": OutputReference(dtype="float32", shape=[2, 2], decides=True)}
    outputs = {"y": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), "y.keys": np.array(["ant", "bee"])}
    assert measure_accuracy(outputs, {"labels": np.array(["ant", "ant"])}, expected) == 0.5
