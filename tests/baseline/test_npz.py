"""Arrays to bytes and back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envcheck.baseline.npz import write_npz
from envcheck.smoke.inputs import load_npz

TYPES = st.sampled_from(
    [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int64, np.bool_, np.dtype("U3")]
)
ARRAYS = arrays.arrays(TYPES.map(np.dtype), arrays.array_shapes(max_dims=3, max_side=4))
NAMES = st.text("abcxyz_.0", min_size=1, max_size=6)


@given(st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_what_is_written_is_read(given_arrays: dict[str, Any]) -> None:
    data = write_npz(given_arrays)
    with np.load(io.BytesIO(data), allow_pickle=False) as by_numpy:
        assert sorted(by_numpy.files) == sorted(given_arrays)
    found = load_npz(data, "a.npz")
    for name, array in given_arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@given(st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_equal_arrays_make_equal_bytes(given_arrays: dict[str, Any]) -> None:
    turned = {
        name: np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
        for name, array in reversed(given_arrays.items())
    }
    assert write_npz(turned) == write_npz(given_arrays)
