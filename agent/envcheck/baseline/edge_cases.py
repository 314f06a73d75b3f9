"""Edge cases: samples that nobody recorded, but that a device may well meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING

from envcheck.contract.baseline import TensorSpec
from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy
from envcheck.smoke.inputs import Batching, check_inputs

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

# All zeros; each element at the least, and at the most, that any sample given has in that place.
EDGE_CASES = ("zeros", "minima", "maxima")
_HINT = "leave --edge-cases out, or put such samples among the inputs yourself"


def add_edge_cases(
    inputs: Mapping[str, Array], specs: Sequence[TensorSpec], batching: Batching, source: str
) -> tuple[dict[str, Array], Batching, list[str]]:
    """Return the inputs with edge cases at the end of the batch, how they go through, and what was added.

    A graph with a fixed batch gets whole batches: the cases are repeated until one is full. Inputs without
    a batch axis stay. Text has no extremes: there the first sample is repeated.

    Raises BadInput when the inputs have no batch axis.
    """
    batched = _batched(inputs, specs, batching)
    names = list(islice(cycle(EDGE_CASES), _count(specs, batched, batching)))
    extended = {name: _extend(array, names) if name in batched else array for name, array in inputs.items()}
    wanted = batching.samples + len(names)
    try:
        found = check_inputs(extended, specs, source)
    except BadInput as error:
        raise BadInput(f"no edge cases can be added: {error.message}", _HINT) from None
    if not batched or found.samples != wanted:
        raise BadInput(f"{source}: no edge cases can be added, since no axis of samples is known", _HINT)
    return extended, found, names


def _batched(inputs: Mapping[str, Array], specs: Sequence[TensorSpec], batching: Batching) -> list[str]:
    """Return the inputs whose first axis is that of the samples."""
    if batching.slices > 1:
        return list(batching.sliced)
    long = [spec for spec in specs if inputs[spec.name].ndim and len(inputs[spec.name]) == batching.samples]
    symbols = [spec.shape[0] for spec in long if spec.shape and isinstance(spec.shape[0], str)]
    # An axis with a symbol of its own only happens to be as long.
    return [
        spec.name for spec in long if not spec.shape or spec.shape[0] in (*symbols[:1], None) or _fixed(spec)
    ]


def _fixed(spec: TensorSpec) -> int:
    first = spec.shape[0] if spec.shape else None
    return first if isinstance(first, int) else 0


def _count(specs: Sequence[TensorSpec], batched: Sequence[str], batching: Batching) -> int:
    """Return how many samples make all cases, and fill whole batches where their size is fixed."""
    fixed = any(spec.name in batched and _fixed(spec) for spec in specs)
    batch = batching.samples // batching.slices if fixed else 1
    return -(-len(EDGE_CASES) // batch) * batch


def _extend(array: Array, names: Sequence[str]) -> Array:
    np = numpy()
    cases = {"zeros": np.zeros_like(array[0])}
    if array.dtype.kind in "fiub":
        cases |= {"minima": array.min(axis=0), "maxima": array.max(axis=0)}
    else:
        cases = dict.fromkeys(EDGE_CASES, array[0])
    extended: Array = np.concatenate([array, np.stack([cases[name] for name in names]).astype(array.dtype)])
    return extended
