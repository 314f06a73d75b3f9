"""Golden inputs, held to what the graph declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envcheck.contract.baseline import TensorSpec
from envcheck.errors import BadInput
from envcheck.smoke.arrays import type_name
from envcheck.smoke.npz import PLAIN, Header, load_npz

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

__all__ = ["Batching", "check_inputs", "load_npz"]

Arrays = Mapping[str, "Array | Header"]
# As graphs name them; an npz holds arrays only.
_NO_TENSORS = ("sequence", "map", "optional", "sparse")


@dataclass(frozen=True)
class Batching:
    """How inputs go through the model: `samples` in all, in `slices` equal parts of the inputs `sliced`.

    One slice is the rule. A graph whose batch dimension is fixed to a smaller number gets that
    many samples at a time, and its outputs are joined along their first axis. `rows` are the inputs that
    hold one row for each sample along a free axis; empty unless all inputs do, so that samples can be run
    one by one.
    """

    samples: int
    slices: int = 1
    sliced: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


def check_inputs(arrays: Arrays, specs: Sequence[TensorSpec], source: str) -> Batching:
    """Hold `arrays`, or their headers, to the inputs that the graph declares; say how they go through it.

    Raises BadInput naming the input, what the model wants and what was found.
    """
    wanted = ", ".join(spec.name for spec in specs) or "none"
    for spec in specs:
        if spec.name not in arrays:
            found = ", ".join(arrays) or "nothing"
            raise BadInput(
                f"{source} lacks the input {spec.name!r}", f"it has {found}; the model wants {wanted}"
            )
    for name in arrays:
        if all(spec.name != name for spec in specs):
            raise BadInput(f"{source}: the model has no input {name!r}", f"the model wants {wanted}")
    headers = {name: _header_of(array) for name, array in arrays.items()}
    for spec in specs:
        _check_one(headers[spec.name], spec, source)
    _check_symbols(headers, specs, source)
    return _batching(headers, specs, source)


def _header_of(array: Array | Header) -> Header:
    return array if isinstance(array, Header) else Header(type_name(array), array.shape)


def _check_one(array: Header, spec: TensorSpec, source: str) -> None:
    where = f"{source}: the input {spec.name!r}"
    if spec.dtype in _NO_TENSORS:
        raise BadInput(f"{where} is a {spec.dtype} in the model", "export the model with tensors as inputs")
    if array.dtype != spec.dtype:
        raise BadInput(
            f"{where} is {array.dtype}, the model wants {spec.dtype}",
            f"convert it: {spec.name}.astype({spec.dtype!r})" if spec.dtype != "string" else PLAIN,
        )
    if spec.shape is None:
        return
    wanted = _spelled(spec.shape)
    if len(array.shape) != len(spec.shape):
        found = f"{len(array.shape)} dimensions {list(array.shape)}"
        raise BadInput(f"{where} has {found}, the model wants {wanted}")
    for axis, (length, expected) in enumerate(zip(array.shape, spec.shape, strict=True)):
        batch = axis == 0 and isinstance(expected, int) and expected > 0 and length % expected == 0
        if isinstance(expected, int) and length != expected and not batch:
            raise BadInput(f"{where} has the shape {list(array.shape)}, the model wants {wanted}")
    if 0 in array.shape and 0 not in spec.shape:
        raise BadInput(f"{where} is empty: its shape is {list(array.shape)}", "give at least one sample")


def _spelled(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if part is None else str(part) for part in shape) + "]"


def _check_symbols(arrays: Mapping[str, Header], specs: Sequence[TensorSpec], source: str) -> None:
    """A symbol stands for one length wherever it occurs."""
    seen: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for length, expected in zip(arrays[spec.name].shape, spec.shape or (), strict=False):
            if not isinstance(expected, str) or not expected:
                continue
            first, name = seen.setdefault(expected, (length, spec.name))
            if first != length:
                raise BadInput(
                    f"{source}: the inputs {name!r} and {spec.name!r} disagree on the length {expected!r}: "
                    f"{first} and {length}"
                )


def _batching(arrays: Mapping[str, Header], specs: Sequence[TensorSpec], source: str) -> Batching:
    counts: dict[str, int] = {}
    for spec in specs:
        first = spec.shape[0] if spec.shape else None
        if isinstance(first, int) and first > 0:
            counts[spec.name] = arrays[spec.name].shape[0] // first
    slices = max(counts.values(), default=1)
    if set(counts.values()) - {1, slices}:
        told = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise BadInput(f"{source}: the inputs hold different numbers of batches ({told})")
    samples = _samples(arrays, specs, counts, slices)
    if slices == 1:
        return Batching(samples, rows=_rows(arrays, specs, samples))
    free = [spec.name for spec in specs if spec.name not in counts and arrays[spec.name].shape]
    riding = [name for name in free if arrays[name].shape[0] == samples]
    return Batching(samples, slices, [name for name, n in counts.items() if n == slices] + riding)


def _rows(arrays: Mapping[str, Header], specs: Sequence[TensorSpec], samples: int) -> list[str]:
    """The names of all inputs where the first axis of each is free, of one symbol, and holds the samples."""
    symbols = set()
    for spec in specs:
        first = spec.shape[0] if spec.shape else 0
        if isinstance(first, int) or arrays[spec.name].shape[0] != samples:
            return []
        symbols.add(first)
    return [spec.name for spec in specs] if len(symbols) == 1 else []


def _samples(
    arrays: Mapping[str, Header], specs: Sequence[TensorSpec], counts: Mapping[str, int], slices: int
) -> int:
    """The first axis of what is sliced, else of the first input whose batch is free, else of the first."""
    names = [spec.name for spec in specs if arrays[spec.name].shape]
    sliced = [name for name in names if slices > 1 and counts.get(name) == slices]
    chosen = sliced or [name for name in names if name not in counts] or names
    return arrays[chosen[0]].shape[0] if chosen else 1
