from __future__ import annotations

import contextlib
import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from support.tiny_models import npz

from envcheck.contract.baseline import TensorSpec
from envcheck.errors import BadInput
from envcheck.smoke.arrays import type_name
from envcheck.smoke.inputs import check_inputs
from envcheck.smoke.npz import load_npz, read_headers

PLAIN = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_, "U5"])
ARRAYS = PLAIN.flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4))
)
NAMES = st.text("abcdefgxyz_", min_size=1, max_size=8)


def spec(name: str, dtype: str, *shape: int | str | None) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=list(shape))


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@given(st.dictionaries(NAMES, ARRAYS, max_size=3))
def test_what_was_saved_is_loaded(arrays: dict[str, NDArray[Any]]) -> None:
    loaded = load_npz(npz(arrays), "in.npz")
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array, equal_nan=array.dtype.kind == "f")
    headers = read_headers(npz(arrays), "in.npz")
    assert [header.shape for header in headers.values()] == [array.shape for array in arrays.values()]
    assert [header.dtype for header in headers.values()] == [type_name(array) for array in arrays.values()]


def test_arrays_without_any_bytes_are_read() -> None:
    arrays = {"empty": np.zeros((0, 3), np.float32), "blank": np.array(["", ""])}
    loaded = load_npz(zip_of(**{f"{name}.npy": npy(array) for name, array in arrays.items()}), "in.npz")
    assert (loaded["empty"].shape, loaded["blank"].tolist()) == ((0, 3), ["", ""])


def test_column_order_and_compression_are_read_too() -> None:
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=array)
    assert np.array_equal(load_npz(buffer.getvalue(), "in.npz")["x"], array)


@given(st.binary(max_size=200))
def test_any_bytes_are_arrays_or_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        load_npz(data, "in.npz")


@given(st.data())
def test_a_damaged_file_is_never_more_than_bad_input(data: st.DataObject) -> None:
    whole = bytearray(npz({"x": np.arange(6.0), "y": np.array(["a", "b"])}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(BadInput):
        load_npz(bytes(whole[:cut]), "in.npz")


def test_a_pickle_is_refused_and_its_member_named() -> None:
    with pytest.raises(BadInput, match=r"in\.npz: the member 'x\.npy' holds Python objects \(a pickle\)"):
        load_npz(npz({"x": np.array([{"a": 1}], dtype=object)}), "in.npz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zip_of(**{"readme.txt": b"hello"}), "the member 'readme.txt' is not an array"),
        (zip_of(**{"x.npy": b"hello"}), "the member 'x.npy' is not a numpy array"),
        (zip_of(**{"x.npy": npy(np.arange(6.0))[:-3]}), "is truncated: its header says [6] of float64"),
        (zip_of(**{"x.npy": npy(np.zeros(2, "datetime64[s]"))}), "which no model takes"),
    ],
)
def test_foreign_members_are_named(data: bytes, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_npz(data, "in.npz")
    assert message in caught.value.message


def test_a_header_that_claims_too_much_allocates_nothing() -> None:
    member = npy(np.zeros(1)).replace(b"(1,), }", b"(1000000000000,), }", 1)
    with pytest.raises(BadInput, match=r"truncated|not a numpy array"):
        load_npz(zip_of(**{"x.npy": member}), "in.npz")


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros(2**20, np.uint8))
    with pytest.raises(BadInput, match=r"unpacks to 1 MB, more than the 0 MB allowed"):
        load_npz(buffer.getvalue(), "in.npz", max_bytes=2**10)


IMAGE = spec("x", "float32", "n", 8)


@pytest.mark.parametrize(
    ("arrays", "specs", "message"),
    [
        ({}, [IMAGE], "lacks the input 'x'"),
        ({"x": np.zeros((2, 8), np.float32), "z": np.zeros(1)}, [IMAGE], "the model has no input 'z'"),
        ({"x": np.zeros((2, 8))}, [IMAGE], "the input 'x' is float64, the model wants float32"),
        ({"x": np.zeros((2, 9), np.float32)}, [IMAGE], "has the shape [2, 9], the model wants [n, 8]"),
        ({"x": np.zeros(8, np.float32)}, [IMAGE], "has 1 dimensions [8], the model wants [n, 8]"),
        ({"x": np.zeros((0, 8), np.float32)}, [IMAGE], "the input 'x' is empty: its shape is [0, 8]"),
        (
            {"x": np.array(["a"])},
            [spec("x", "int64", None)],
            "the input 'x' is string, the model wants int64",
        ),
        ({"x": np.zeros((5, 8), np.float32)}, [spec("x", "float32", 2, 8)], "has the shape [5, 8]"),
        (
            {"x": np.zeros((2, 8), np.float32), "y": np.zeros(3, np.float32)},
            [IMAGE, spec("y", "float32", "n")],
            "the inputs 'x' and 'y' disagree on the length 'n': 2 and 3",
        ),
        (
            {"x": np.zeros((4, 1), np.float32), "y": np.zeros((6, 1), np.float32)},
            [spec("x", "float32", 1, 1), spec("y", "float32", 1, 1)],
            "different numbers of batches (x: 4, y: 6)",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    arrays: dict[str, NDArray[Any]], specs: list[TensorSpec], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        check_inputs(arrays, specs, "in.npz")
    assert caught.value.message.startswith("in.npz")
    assert message in caught.value.message


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_fixed_batch_is_fed_in_slices(batch: int, count: int) -> None:
    arrays = {"x": np.zeros((batch * count, 3), np.float32), "scale": np.zeros((1,), np.float32)}
    specs = [spec("x", "float32", batch, 3), spec("scale", "float32", 1)]
    found = check_inputs(arrays, specs, "in.npz")
    assert found.slices == count
    assert found.sliced == (["x"] if count > 1 else [])
    assert count == 1 or found.samples == batch * count


def test_a_free_batch_goes_through_in_one_call() -> None:
    found = check_inputs({"x": np.zeros((7, 8), np.float32)}, [IMAGE], "in.npz")
    assert (found.samples, found.slices, found.sliced) == (7, 1, [])
