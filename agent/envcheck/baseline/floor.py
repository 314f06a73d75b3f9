"""The reference and the noise floor of every output, out of what the ensemble gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from envcheck.baseline.ensemble import Ensemble, Member
from envcheck.baseline.material import Prepared
from envcheck.baseline.origins import read_origins
from envcheck.baseline.scores import describe_output
from envcheck.baseline.ties import find_ties
from envcheck.contract.baseline import Floor, FloorBasis, OutputReference
from envcheck.contract.canonical import significant
from envcheck.contract.evidence import OutputMetrics
from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy, type_name
from envcheck.smoke.metrics import compare_output
from envcheck.smoke.quantised import multiplies_quantised

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

# A double-precision result further from the ensemble than this share of its RMS is not the same computation.
_SAME_COMPUTATION = 1e-2
_TIES_UNTOLD = "output {} holds indices {}: ties can't be told from faults, and all must be equal on devices"


@dataclass(frozen=True)
class Measured:
    """References by output (float64, exact types as they are), what each is held to, remarks for people."""

    references: Mapping[str, Array]
    outputs: dict[str, OutputReference]
    remarks: list[str]


def measure_floor(ensemble: Ensemble, double: Mapping[str, Array] | str, prepared: Prepared) -> Measured:
    """Choose every output's reference and measure its floor.

    A float model is held to `double` where it could be had (else a string says why not), otherwise to the
    ensemble's median; its floor is the worst member. A quantised model is held to the median of what the
    training machine serves; its floor is the distance to the float original, or without one
    the effect of moving inputs by half a quantum, and never less than the ensemble's own spread.
    What a random model gives has no floor: one run is the reference for its shape and statistics.
    """
    quantised, random = multiplies_quantised(prepared.graph.quantised), bool(prepared.graph.random)
    origins = read_origins(prepared.material.model.data, prepared.graph.quantised)
    remarks = [] if random else _scales(ensemble, double, quantised=quantised)
    outputs: dict[str, OutputReference] = {}
    references: dict[str, Array] = {}
    served = _plain(ensemble.members, served=True)[0].outputs
    for name, first in served.items():
        exact = first.dtype.kind not in "fc"
        given = None if isinstance(double, str) or exact else double.get(name)
        if random:
            reference, basis = _drawn(name, ensemble, exact=exact), None
        else:
            reference, basis = _reference(name, ensemble, given, quantised=quantised, exact=exact)
        if given is not None and basis not in ("float64", None):
            remarks.append(
                f"output {name}: the double-precision result strays from onnxruntime's; median taken"
            )
        described = describe_output(name, first, reference, prepared, origins)
        floor = None if exact or basis is None else _floor(name, reference, described, ensemble, basis)
        ties = "" if random else find_ties(name, served, origins, prepared.batching.slices)
        if isinstance(ties, str):
            remarks += [_TIES_UNTOLD.format(name, ties)] if ties else []
        else:
            described = msgspec.structs.replace(described, ties=ties)
        references[name] = reference
        outputs[name] = msgspec.structs.replace(described, floor=floor)
        remarks += [] if random else _stability(name, ensemble, described)
    return Measured(references, outputs, remarks)


def _scales(ensemble: Ensemble, double: Mapping[str, Array] | str, *, quantised: bool) -> list[str]:
    """Say where another reference or scale than the best one had to be taken."""
    if quantised:
        honest = "no float original was given: the scale is the effect of half a quantum of the inputs"
        return [honest] if ensemble.original is None else []
    if isinstance(double, str):
        return [f"the reference is the ensemble's median, not double precision: {double}"]
    return []


def _plain(members: Sequence[Member], *, served: bool) -> list[Member]:
    return [member for member in members if not member.aside and (member.served or not served)]


def _reference(
    name: str, ensemble: Ensemble, given: Array | None, *, quantised: bool, exact: bool
) -> tuple[Array, FloorBasis]:
    members = _plain(ensemble.members, served=quantised or exact)
    values = [member.outputs[name] for member in members]
    if exact:
        return values[0], "ensemble-median"
    middle = _median(values)
    if quantised:
        return middle, "quantum" if ensemble.original is None else "quantisation-error"
    if given is not None and given.shape == middle.shape and same_computation(given, middle):
        return given.astype(middle.dtype), "float64"
    return middle, "ensemble-median"


def _widened(array: Array) -> Array:
    np = numpy()
    wide: Array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return wide


def _drawn(name: str, ensemble: Ensemble, *, exact: bool) -> Array:
    """Return what one run of a random model gave."""
    first, *rest = (member.outputs[name] for member in ensemble.members)
    if any(other.shape != first.shape for other in rest):
        raise BadInput(f"the shape of output {name} is random: nothing is compared", "export another output")
    return first if exact else _widened(first)


def _median(values: Sequence[Array]) -> Array:
    np = numpy()
    stacked = np.stack([_widened(value) for value in values])
    # The middle of complex numbers is that of their parts; NaN and infinities stay what they are.
    if stacked.dtype.kind == "c":
        middle: Array = np.median(stacked.real, axis=0) + 1j * np.median(stacked.imag, axis=0)
        return middle
    with np.errstate(invalid="ignore"):
        middle = np.median(stacked, axis=0)
    return np.where(np.isfinite(middle), middle, stacked[0])  # type: ignore[no-any-return]


def same_computation(one: Array, other: Array) -> bool:
    """Tell whether two arrays of one shape are one computation, done more and less precisely."""
    np = numpy()
    finite = np.isfinite(other)
    if not np.array_equal(np.isfinite(one), finite):
        return False
    return _rms(one[finite] - other[finite]) <= _SAME_COMPUTATION * _rms(other[finite])


def _floor(
    name: str, reference: Array, output: OutputReference, ensemble: Ensemble, basis: FloorBasis
) -> Floor:
    """The worst distance from the reference among the members and, if there is one, the float original."""
    others = [member.outputs[name] for member in ensemble.members]
    if ensemble.original is not None and basis == "quantisation-error":
        others.append(ensemble.original[name])
    worst_rms = worst_max = 0.0
    for other in others:
        metrics = compare_output(other, reference, output)
        if metrics.problem:
            raise BadInput(
                f"output {name} is not the same thing in every run: {metrics.detail}",
                "its shape, NaN or infinities must not depend on how it is run",
            )
        worst_rms = max(worst_rms, metrics.rmse or 0.0)
        worst_max = max(worst_max, metrics.max_abs or 0.0)
    finite = reference[numpy().isfinite(reference)]
    return Floor(
        basis=basis, scale=significant(_rms(finite), 9), rms=worst_rms, max=worst_max, members=len(others)
    )


def _stability(name: str, ensemble: Ensemble, described: OutputReference) -> list[str]:
    found = []
    if name in ensemble.unrepeatable:
        found.append(f"output {name} differs between runs of one session here")
    # Among tied scores an order is no more than chance, and what is not tied is judged on devices.
    if described.exact and described.ties is None:
        first, *rest = (member.outputs[name] for member in ensemble.members)
        if any(_changes(compare_output(other, first, described), described) for other in rest):
            held = "within one quantum" if described.quantised else "exactly"
            found.append(
                f"output {name} ({type_name(first)}) must agree {held} on devices, but changes here "
                "with the optimisation level, the threads or the last bit of the inputs"
            )
    return found


def _changes(metrics: OutputMetrics, described: OutputReference) -> bool:
    """Tell whether an exact output is not the same, another rounding of quanta apart."""
    rounded = described.quantised and metrics.within_quantum == 1
    return metrics.differing != 0 and not rounded


def _rms(values: Array) -> float:
    np = numpy()
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest * float(np.sqrt(np.mean(np.square(np.abs(values) / largest)))) if largest > 0 else 0.0
