"""How far an output may be from its reference: multiples of the measured noise floor."""

from __future__ import annotations

import msgspec

from envcheck.contract.baseline import Floor, OutputReference
from envcheck.contract.document import Value
from envcheck.contract.evidence import Evidence
from envcheck.judge.reference import Reference

CPU = "CPUExecutionProvider"
# Unit roundoff by compute type; TF32 keeps ten bits of mantissa like fp16.
EPSILON = {"fp32": 2.0**-23, "tf32": 2.0**-10, "fp16": 2.0**-10, "bf16": 2.0**-7}
_OWN_PRECISION = {"float16": "fp16", "bfloat16": "bf16"}
_BASIS_WORDS = {
    "float64": "the noise floor",
    "ensemble-median": "the noise floor",
    "quantisation-error": "the quantisation error",
    "quantum": "the effect of half a quantum",
}


class FloorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many floors are allowed; calibrated in docs/verdicts.md.

    `factor` for float models on the provider of training, `provider_factor` on another provider,
    `quantised_factor` where the floor is a quantisation error. `compute` is the coarsest compute type
    allowed: `fp32`, `tf32`, `fp16` or `bf16`. `statistics` is for models that draw random numbers: the share
    of training's spread by which what describes an output may differ.
    """

    factor: float = 2.0
    provider_factor: float = 8.0
    quantised_factor: float = 2.0
    compute: str = "fp32"
    statistics: float = 0.25

    def __post_init__(self) -> None:
        if self.compute not in EPSILON:
            raise ValueError(f"compute must be one of {', '.join(EPSILON)}")
        if not min(self.factor, self.provider_factor, self.quantised_factor, self.statistics) > 0:
            raise ValueError("a factor must be above 0")


class Tolerance(Value, frozen=True, kw_only=True):
    """The allowed RMSE and absolute error of one output, in the output's unit, and how they came about."""

    rms: float
    max: float
    factor: float
    basis: str


def tolerance(
    output: OutputReference, floor: Floor, reference: Reference, evidence: Evidence, options: FloorOptions
) -> Tolerance:
    """Return max(k floors, a few roundoffs of the output's scale); docs/verdicts.md has the calibration."""
    factor = _factor(floor, reference, evidence, options)
    epsilon = max(EPSILON[options.compute], own_epsilon(output))
    return Tolerance(
        rms=max(factor * floor.rms, 4 * epsilon * floor.scale),
        max=max(factor * floor.max, 32 * epsilon * floor.scale),
        factor=factor,
        basis=_BASIS_WORDS[floor.basis],
    )


def own_epsilon(output: OutputReference) -> float:
    """Return the unit roundoff of an output's own type; fp32's for what is wider."""
    return EPSILON[_OWN_PRECISION.get(output.dtype, "fp32")]


def _factor(floor: Floor, reference: Reference, evidence: Evidence, options: FloorOptions) -> float:
    if floor.basis in ("quantisation-error", "quantum"):
        return options.quantised_factor
    if first_provider(evidence) != first_provider(reference.baseline.evidence):
        return options.provider_factor
    return options.factor


def first_provider(evidence: Evidence) -> str:
    """Return the provider that a session was really given first."""
    return evidence.registered[0] if evidence.registered else CPU
