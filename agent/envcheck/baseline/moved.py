"""Inputs moved by so little that the model's answers should not care: the ensemble's other inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from envcheck.smoke.arrays import numpy

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

    Move = Callable[[Array, Array], Array]

_SEED = 20


def move_by_ulp(inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return the inputs moved by one unit in the last place, up or down by a seeded coin, and the reverse.

    Zeros stay: their neighbours are denormal. Empty when no input holds floats.
    """
    return _both_ways(inputs, _by_ulp)


def move_by_half_quantum(inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return the inputs moved by half of a 255th of their range, by a seeded coin, and the reverse.

    That is how far quantising an input to eight bits may move it. Empty when no input holds floats.
    """
    return _both_ways(inputs, _by_half_quantum)


def _both_ways(inputs: Mapping[str, Array], move: Move) -> list[dict[str, Array]]:
    np = numpy()
    floats = sorted(name for name, array in inputs.items() if array.dtype.kind == "f")
    if not floats:
        return []
    coin = np.random.Generator(np.random.PCG64(_SEED))
    ways = {name: coin.integers(0, 2, inputs[name].shape) * 2 - 1 for name in floats}
    return [{**inputs, **{name: move(inputs[name], way * ways[name]) for name in floats}} for way in (1, -1)]


def _by_ulp(array: Array, way: Array) -> Array:
    np = numpy()
    with np.errstate(over="ignore", under="ignore"):
        moved = np.nextafter(array, np.where(way > 0, np.inf, -np.inf).astype(array.dtype))
    # The largest number's neighbour is infinity, and no input becomes one here.
    stays = (array == 0) | ~np.isfinite(moved)
    kept: Array = np.where(stays, array, moved)
    return kept


def _by_half_quantum(array: Array, way: Array) -> Array:
    np = numpy()
    if not array.size:
        return array
    # Quantisers keep zero in their range.
    low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
    moved: Array = (array.astype(np.float64) + way * ((high - low) / 255 / 2)).astype(array.dtype)
    return moved
