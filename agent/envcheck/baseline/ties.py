"""Outputs that hold indices of a ranking, and the output that holds its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from envcheck.baseline.origins import ONNX, RESHAPING, Origins
from envcheck.contract.baseline import Ties
from envcheck.smoke.nodes import Node

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_AXES = {"ArgMax": 0, "ArgMin": 0, "TopK": -1}
_KEEPING = ("Cast", "Identity")


def find_ties(name: str, outputs: Mapping[str, Array], origins: Origins, slices: int) -> Ties | str:
    """Return what tells a tie from a fault in the indices of output `name`, or in words why nothing does.

    Empty where it holds no such indices. `outputs` are those of one run, put together of `slices` batches.
    """
    end, node = origins.of(name, (*RESHAPING, "Cast"))
    if node is None or node.domain not in ONNX or outputs[name].dtype.kind not in "iu":
        return ""
    if node.operator == "NonMaxSuppression":
        return "of NonMaxSuppression, whose scores are not compared"
    if node.operator not in _AXES or (node.operator == "TopK" and end not in node.outputs[1:]):
        return ""
    if node.attribute("sorted", 1) == 0:
        return "of a TopK that does not sort"
    found = [*_all_scores(node, outputs, origins, slices), *_listed_scores(node, outputs, origins)]
    return found[0] if found else f"of {node.operator}, whose scores are no output"


def _all_scores(node: Node, outputs: Mapping[str, Array], origins: Origins, slices: int) -> Iterator[Ties]:
    """Yield outputs that hold what was ranked, as it was ranked."""
    ranked, _ = origins.of(node.input(0), _KEEPING)
    axis = node.attribute("axis", _AXES[node.operator])
    for name, array in _floats(outputs):
        # Along the first axis the batches of a graph with a fixed batch are put together.
        if origins.of(name, _KEEPING)[0] == ranked and -array.ndim <= axis < array.ndim:
            place = axis % array.ndim
            if place or slices == 1:
                yield Ties(scores=name, axis=place)


def _listed_scores(node: Node, outputs: Mapping[str, Array], origins: Origins) -> Iterator[Ties]:
    """Yield outputs that hold a TopK's values. A list of one has no neighbours to be tied with."""
    if node.operator != "TopK":
        return
    axis, listed = node.attribute("axis", -1), origins.integer(node.input(1))
    for name, array in _floats(outputs):
        if origins.of(name, (*RESHAPING, "Cast"))[0] != node.outputs[0]:
            continue
        last = axis == -1
        if origins.of(name, _KEEPING)[0] == node.outputs[0] and array.ndim:
            listed, last = listed or array.shape[-1], last or axis == array.ndim - 1
        if last and listed is not None and listed > 1:
            yield Ties(scores=name, listed=listed)


def _floats(outputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    return ((name, array) for name, array in outputs.items() if array.dtype.kind == "f")
