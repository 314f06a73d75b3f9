"""Inputs moved by what ought not to matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envcheck.baseline.moved import move_by_half_quantum, move_by_ulp

FLOATS = arrays.arrays(
    st.sampled_from([np.float32, np.float64]),
    arrays.array_shapes(max_dims=3, max_side=5),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(FLOATS)
def test_a_ulp_is_the_nearest_other_number(array: Any) -> None:
    up, down = (moved["x"] for moved in move_by_ulp({"x": array}))
    assert up.dtype == down.dtype == array.dtype
    for moved in (up, down):
        zero = array == 0
        assert (moved[zero] == 0).all()
        assert (np.nextafter(array, moved) == moved).all()
        assert (moved[~zero] != array[~zero]).all()
    assert (np.sign(up - array) == -np.sign(down - array)).all()


def test_the_largest_number_does_not_become_infinite() -> None:
    largest = np.full((4, 4), np.finfo(np.float32).max)
    assert all(np.isfinite(moved["x"]).all() for moved in move_by_ulp({"x": largest}))


@given(FLOATS)
def test_half_a_quantum_is_half_of_a_255th_of_the_range(array: Any) -> None:
    wide = array.astype(np.float64)
    half = (max(wide.max(), 0) - min(wide.min(), 0)) / 510
    for moved in move_by_half_quantum({"x": array}):
        off = np.abs(moved["x"].astype(np.float64) - wide)
        np.testing.assert_allclose(off, half, rtol=1e-6, atol=2.0**-22 * np.abs(wide).max(initial=0) + 1e-44)


def test_only_floats_move_and_the_same_way_every_time() -> None:
    inputs = {"ids": np.arange(4), "x": np.ones((4, 3), np.float32)}
    one, other = move_by_ulp(inputs), move_by_ulp(inputs)
    for first, second in zip(one, other, strict=True):
        assert first["ids"] is inputs["ids"]
        np.testing.assert_array_equal(first["x"], second["x"])
    assert move_by_ulp({"ids": np.arange(4)}) == move_by_half_quantum({"ids": np.arange(4)}) == []
