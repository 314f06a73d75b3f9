"""The reference and the noise floor of every output, out of what the ensemble gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from envcheck.baseline.ensemble import Ensemble, Member
from envcheck.contract.baseline import Floor, FloorBasis, OutputReference
from envcheck.contract.canonical import significant
from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy, type_name
from envcheck.smoke.metrics import compare_output

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

# A double-precision result further from the ensemble than this share of its RMS is not the same computation.
_SAME_COMPUTATION = 1e-2
_EPSILON = 2.0**-23


@dataclass(frozen=True)
class Measured:
    """References by output (float64, exact types as they are), what each is held to, remarks for people."""

    references: Mapping[str, Array]
    outputs: dict[str, OutputReference]
    remarks: list[str]


def measure_floor(
    ensemble: Ensemble, double: Mapping[str, Array] | str, *, quantised: bool, labels: Mapping[str, Array]
) -> Measured:
    """Choose every output's reference and measure its floor.

    A float model is held to `double` where it could be had (else a string says why not), otherwise to the
    ensemble's median; its floor is the worst member. A quantised model is held to the median of what the
    training machine serves; its floor is the distance to the float original, or without one
    the effect of moving inputs by half a quantum, and never less than the ensemble's own spread.
    """
    remarks = []
    if quantised and ensemble.original is None:
        remarks.append("no float original was given: the scale is the effect of half a quantum of the inputs")
    if isinstance(double, str) and not quantised:
        remarks.append(f"the reference is the ensemble's median, not double precision: {double}")
    outputs: dict[str, OutputReference] = {}
    references: dict[str, Array] = {}
    for name, first in _plain(ensemble.members, served=True)[0].outputs.items():
        exact = first.dtype.kind not in "fc"
        given = None if isinstance(double, str) or exact else double.get(name)
        reference, basis = _reference(name, ensemble, given, quantised=quantised, exact=exact)
        if given is not None and basis != "float64":
            remarks.append(
                f"output {name}: the double-precision result strays from onnxruntime's; median taken"
            )
        described = OutputReference(
            dtype=type_name(first),
            shape=list(first.shape),
            exact=exact,
            decides=not exact and _decides(first, name, labels),
        )
        references[name] = reference
        floor = None if exact else _floor(name, reference, described, ensemble, basis)
        outputs[name] = msgspec.structs.replace(described, floor=floor)
        remarks += _stability(name, ensemble, exact=exact)
    return Measured(references, outputs, remarks)


def check_alive(references: Mapping[str, Array], samples: int, *, non_finite: bool, constant: bool) -> None:
    """Refuse outputs that prove nothing, unless `non_finite` or `constant` accepts them; raises BadInput."""
    np = numpy()
    for name, array in references.items():
        if not array.size and not constant:
            raise BadInput(
                f"output {name} is empty for these inputs, {list(array.shape)}: nothing is compared",
                "give inputs to which the model has an answer; if this is meant, say --accept-constant",
            )
        if array.dtype.kind not in "fc":
            continue
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if bad and not non_finite:
            raise BadInput(
                f"output {name}: {bad} of {array.size} elements are NaN or infinite in training",
                "look at the model and its inputs; if this is meant, say --accept-non-finite",
            )
        if not constant and _is_constant(array, samples):
            raise BadInput(
                f"output {name} is the same for every sample: these inputs exercise nothing",
                "give inputs as the model meets them; if this is meant, say --accept-constant",
            )


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
    if given is not None and given.shape == middle.shape and _agree(given, middle):
        return given.astype(middle.dtype), "float64"
    return middle, "ensemble-median"


def _median(values: Sequence[Array]) -> Array:
    np = numpy()
    wide = np.complex128 if values[0].dtype.kind == "c" else np.float64
    stacked = np.stack([value.astype(wide) for value in values])
    # The middle of complex numbers is that of their parts; NaN and infinities stay what they are.
    if wide is np.complex128:
        middle: Array = np.median(stacked.real, axis=0) + 1j * np.median(stacked.imag, axis=0)
        return middle
    with np.errstate(invalid="ignore"):
        middle = np.median(stacked, axis=0)
    return np.where(np.isfinite(middle), middle, stacked[0])  # type: ignore[no-any-return]


def _agree(one: Array, other: Array) -> bool:
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


def _stability(name: str, ensemble: Ensemble, *, exact: bool) -> list[str]:
    np = numpy()
    found = []
    if name in ensemble.unrepeatable:
        found.append(f"output {name} differs between runs of one session here")
    if exact:
        first, *rest = (member.outputs[name] for member in ensemble.members)
        if any(not np.array_equal(first, other) for other in rest):
            found.append(
                f"output {name} ({type_name(first)}) must agree exactly on devices, but changes here "
                "with the optimisation level, the threads or the last bit of the inputs"
            )
    return found


def _decides(output: Array, name: str, labels: Mapping[str, Array]) -> bool:
    """Tell whether the last axis holds scores: labels fit it, or every sample gives one row of numbers."""
    if output.dtype.kind != "f" or output.ndim < 2 or output.shape[-1] < 2:
        return False
    wanted = labels.get(name, next(iter(labels.values()), None))
    fits = wanted is not None and wanted.dtype.kind in "iu" and output.shape[:-1] == wanted.shape
    return fits or output.ndim == 2


def _is_constant(array: Array, samples: int) -> bool:
    """Whether samples do not differ by more than rounding; one sample is compared within itself."""
    np = numpy()
    finite = np.where(np.isfinite(array), array, 0)
    apart = array.ndim > 0 and len(array) == samples and samples > 1
    if finite.size < 2 or (not apart and samples == 1 and finite.size < 4):
        return False
    spread = np.abs(finite - finite[:1]) if apart else np.abs(finite - finite.flat[0])
    return bool(spread.max() <= 8 * _EPSILON * np.abs(finite).max())


def _rms(values: Array) -> float:
    np = numpy()
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest * float(np.sqrt(np.mean(np.square(np.abs(values) / largest)))) if largest > 0 else 0.0
