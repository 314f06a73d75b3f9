"""What a baseline is made from, opened and held to the model before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envcheck.baseline.edge_cases import add_edge_cases
from envcheck.baseline.external import MAX_MODEL, refuse_external, too_large
from envcheck.baseline.subnormals import count_subnormals
from envcheck.contract.baseline import Graph
from envcheck.errors import BadInput
from envcheck.smoke.graph import read_graph
from envcheck.smoke.inputs import Batching, check_inputs, load_npz

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

ENOUGH_SAMPLES = 16
_LABELS_HINT = "labels are an npz with one array of class numbers, one for each sample"


@dataclass(frozen=True)
class Source:
    """A file's bytes, what to call it in errors, and the directory that it lies in where it is a file."""

    data: bytes
    name: str
    folder: Path | None = None


@dataclass(frozen=True)
class Material:
    """The files of one release. `float_model` is the original that `model` was quantised from."""

    model: Source
    inputs: Source
    labels: Source | None = None
    float_model: Source | None = None


@dataclass(frozen=True)
class Prepared:
    """The same, read and found to fit together.

    `edge_cases` names the samples, the last ones of `inputs`, that were added beside those given.
    """

    material: Material
    graph: Graph
    inputs: Mapping[str, Array]
    labels: Mapping[str, Array]
    batching: Batching
    remarks: list[str] = field(default_factory=list)
    edge_cases: list[str] = field(default_factory=list)

    @property
    def given(self) -> int:
        """The number of samples that the person gave: labels are of these."""
        return self.batching.samples - len(self.edge_cases)


def prepare(material: Material, *, edge_cases: bool = False) -> Prepared:
    """Read every file and hold each to the model's graph; raises BadInput naming file and part.

    `edge_cases` adds samples of zeros and of the extremes, see `add_edge_cases`.
    """
    graph = _read_model(material.model)
    graph = msgspec.structs.replace(graph, subnormal=count_subnormals(material.model.data))
    inputs = load_npz(material.inputs.data, material.inputs.name)
    batching = check_inputs(inputs, graph.inputs, material.inputs.name)
    _check_finite(inputs, material.inputs.name)
    remarks = []
    if batching.samples < ENOUGH_SAMPLES:
        held = "1 sample" if batching.samples == 1 else f"{batching.samples} samples"
        remarks.append(f"{material.inputs.name} holds {held}; {ENOUGH_SAMPLES} or more show more")
    if material.float_model is not None:
        _check_float(material, graph)
    if graph.random:
        remarks.append(
            f"{material.model.name} draws random numbers ({', '.join(graph.random)}): "
            "only shapes and statistics are compared; export it without them if that is not meant"
        )
    labels = _read_labels(material.labels, batching)
    added: list[str] = []
    if edge_cases:
        inputs, batching, added = add_edge_cases(inputs, graph.inputs, batching, material.inputs.name)
    return Prepared(material, graph, inputs, labels, batching, remarks, added)


def _read_model(model: Source) -> Graph:
    if len(model.data) > MAX_MODEL:
        raise too_large(model.name)
    graph = read_graph(model.data, model.name)
    if graph.external_data:
        raise refuse_external(model.name, len(model.data), graph.external_data, model.folder)
    return graph


def _check_finite(inputs: Mapping[str, Array], source: str) -> None:
    from envcheck.smoke.arrays import numpy

    for name, array in inputs.items():
        if array.dtype.kind == "f" and not numpy().isfinite(array).all():
            raise BadInput(
                f"{source}: the input {name!r} holds NaN or infinities", "golden inputs are finite"
            )


def _check_float(material: Material, graph: Graph) -> None:
    """The float original must take the same inputs and give outputs of the same names."""
    assert material.float_model is not None  # noqa: S101 - the caller looked
    other = _read_model(material.float_model)
    for what, ours, theirs in (
        ("inputs", graph.inputs, other.inputs),
        ("outputs", graph.outputs, other.outputs),
    ):
        here, there = ({spec.name for spec in specs} for specs in (ours, theirs))
        if here != there:
            raise BadInput(
                f"{material.float_model.name} is not the float original of {material.model.name}: its {what} "
                f"are {', '.join(sorted(there))}, not {', '.join(sorted(here))}",
                "give the model that was quantised, with its names unchanged",
            )
    if other.quantised:
        raise BadInput(f"{material.float_model.name} is itself quantised", "give the model in float")


def _read_labels(labels: Source | None, batching: Batching) -> Mapping[str, Array]:
    if labels is None:
        return {}
    arrays = load_npz(labels.data, labels.name)
    if not arrays:
        raise BadInput(f"{labels.name} holds no array", _LABELS_HINT)
    for name, array in arrays.items():
        where = f"{labels.name}: the array {name!r}"
        if array.dtype.kind not in "iubU":
            raise BadInput(f"{where} is {array.dtype}, not class numbers", _LABELS_HINT)
        if array.ndim == 0 or len(array) != batching.samples:
            held = "no axis of samples" if array.ndim == 0 else f"{len(array)} labels"
            raise BadInput(f"{where} has {held}, the inputs hold {batching.samples} samples", _LABELS_HINT)
    return arrays
