"""Two models' outputs summed up file by file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envcheck.contract.shadow import ShadowOutput
from envcheck.smoke.beside import Beside

SHAPES = st.tuples(st.integers(1, 8), st.integers(2, 4))
ELEMENTS = st.floats(-1e3, 1e3, width=32)


def summed(service: list[Any], candidate: list[Any], *, decides: bool = True) -> ShadowOutput:
    beside = Beside(decides=decides)
    for one, other in zip(service, candidate, strict=True):
        beside.add(one, other)
    return beside.result()


@given(st.data(), SHAPES, st.sampled_from([np.float32, np.int64]))
def test_how_samples_are_spread_over_files_does_not_matter(
    data: st.DataObject, shape: Any, kind: Any
) -> None:
    elements = ELEMENTS if kind is np.float32 else st.integers(-3, 3)
    one, other = (data.draw(arrays.arrays(kind, shape, elements=elements)) for _ in range(2))
    cut = data.draw(st.integers(0, shape[0]))
    whole = summed([one], [other])
    parts = summed([one[:cut], one[cut:]], [other[:cut], other[cut:]])
    for name in ("agreement", "elements", "problem", "decisions"):
        assert getattr(parts, name) == getattr(whole, name)
    for name in ("rmse", "max_abs", "scale"):
        expected = getattr(whole, name)
        assert getattr(parts, name) == (expected if expected is None else pytest.approx(expected, rel=0.01))


@given(SHAPES.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=ELEMENTS)))
def test_only_equals_agree_wholly(scores: Any) -> None:
    assert summed([scores], [scores]).agreement == 1.0
    changed = scores.copy()
    changed[0, scores[0].argmin()] = scores.max() + 1
    flipped = int(changed[0].argmax() != scores[0].argmax())
    found = summed([scores], [changed])
    assert found.decisions is not None
    assert found.decisions.flipped == flipped
    assert found.agreement is not None
    assert (found.agreement < 1.0) == bool(flipped)


def test_a_share_is_one_only_when_nothing_differs() -> None:
    one = np.zeros(10_000_000, np.int8)
    other = one.copy()
    other[0] = 1
    assert summed([one], [other]).agreement == 1 - 1e-6


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (np.array([[1.0, np.inf]]), ""),
        (np.array([[1.0, -np.inf]]), "1 elements are NaN or infinite"),
        (np.array([[1.0, np.nan]]), "1 elements are NaN or infinite"),
        (np.array([[np.inf, 1.0]]), "1 elements are NaN or infinite"),
        (np.array([[1.0, np.inf]], np.float16), ""),
        (np.array([[1.0]]), "its shape is [1, 2] in service, [1, 1] of the candidate"),
        (np.array([[1, 2]]), "it is float64 in service, int64 of the candidate"),
        (None, "only the model in service gives it"),
    ],
)
def test_infinities_count_by_their_place_and_sign(candidate: Any, words: str) -> None:
    found = summed([np.array([[1.0, np.inf]])], [candidate], decides=False)
    assert found.problem.startswith(words)
    assert bool(found.problem) == bool(words)
