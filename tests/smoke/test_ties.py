"""Indices that differ, told apart by the scores that changed places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.baseline import OutputReference, Ties
from envcheck.smoke.metrics import compare_outputs

LISTED, ALL = Ties(scores="y", listed=3), Ties(scores="y", axis=1)
SEEDS = st.integers(0, 2**32)


def gap(here: Any, there: Any, scores: Any, ties: Ties) -> float | None:
    here, there, scores = np.array(here), np.array(there), np.array(scores, np.float64)
    expected = {
        "i": OutputReference(dtype="int64", shape=list(here.shape), exact=True, ties=ties),
        "y": OutputReference(dtype="float64", shape=list(scores.shape)),
    }
    outputs = {"i": here, "y": scores}
    return compare_outputs(outputs, {"i": there, "y": scores}, expected)["i"].tie_gap


@pytest.mark.parametrize(
    ("here", "distance"),
    [
        ([7, 5, 2], 0.0),
        ([5, 7, 2], 0.25),
        ([7, 2, 5], 1.0),
        ([2, 5, 7], 1.25),
        # What training's list does not have scores no more than its last.
        ([7, 5, 9], 0.0),
        ([7, 9, 5], 1.0),
        ([9, 7, 5], 1.25),
        # No ranking at all.
        ([7, 7, 2], 1e308),
        ([7, 5, -1], 1e308),
    ],
)
def test_in_a_list_each_index_is_held_to_the_place_where_it_stood(here: list[int], distance: float) -> None:
    assert gap([here], [[7, 5, 2]], [[4.25, 4.0, 3.0]], LISTED) == distance
    # Only the list counts, whatever shape the outputs were brought to.
    assert (
        gap([[7], [5], [2], *([one] for one in here)], [[7], [5], [2]] * 2, [4.25, 4, 3] * 2, LISTED)
        == distance
    )


@pytest.mark.parametrize(
    ("here", "distance"),
    [([2, 0], 0.0), ([1, 0], 0.5), ([2, 1], 6.5), ([3, 0], 1e308), ([-1, 0], 1e308)],
)
def test_among_all_scores_each_index_is_looked_up(here: list[int], distance: float) -> None:
    scores = np.array([[1.0, 2.5, 3.0], [9.0, 2.5, 0.0]])
    assert gap(here, [2, 0], scores, ALL) == distance
    assert gap([here], [[2, 0]], scores.T, Ties(scores="y", axis=0)) == distance


def test_an_index_twice_in_one_ranking_is_no_tie() -> None:
    scores = [[5.0, 5.0, 5.0, 1.0]]
    assert gap([[1, 0]], [[0, 1]], scores, ALL) == 0.0
    assert gap([[1, 1]], [[0, 1]], scores, ALL) == 1e308


@given(SEEDS, st.booleans(), st.integers(2, 5), st.sampled_from([0.0, 0.01, 0.3]))
def test_scores_off_by_an_error_change_places_within_twice_that(
    seed: int, listed: bool, count: int, error: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, size=(9, 7)) / 5
    moved = scores + rng.uniform(-error, error, size=scores.shape)
    # Tied scores come in any order.
    shuffled = rng.permutation(7)
    here = shuffled[np.argsort(-moved[:, shuffled], axis=1, kind="stable")][:, :count]
    there = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    known = np.take_along_axis(scores, there, axis=1) if listed else scores
    found = gap(here, there, known, Ties(scores="y", listed=count) if listed else ALL)
    assert found is not None
    assert found <= 2 * error * 1.01 + 1e-12


@given(SEEDS, st.sampled_from([LISTED, ALL]))
def test_no_other_exchange_passes_for_a_tie(seed: int, ties: Ties) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(7.0), (9, 1)), axis=1)
    there = np.argsort(-scores, axis=1)[:, :3]
    here = there[:, rng.permutation(3)]
    found = gap(here, there, np.take_along_axis(scores, there, axis=1) if ties.listed else scores, ties)
    assert found is not None
    assert (found >= 1) == bool((here != there).any())


@pytest.mark.parametrize("ties", [LISTED, Ties(scores="y", axis=4), Ties(scores="gone")])
def test_shapes_that_do_not_go_together_tell_nothing(ties: Ties) -> None:
    assert gap([[0, 1]], [[1, 0]], [[1.0, 1.0]], ties) is None
