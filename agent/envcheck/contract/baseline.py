"""The baseline: the training side of one release, frozen."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from envcheck.contract.document import Document, Value
from envcheck.contract.evidence import Evidence, SmokeReadings, Top
from envcheck.contract.operators import heavy
from envcheck.errors import BadInput

_RELEASE = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})@([A-Za-z0-9][A-Za-z0-9._+-]{0,63})")

# Int8 products that saturate without VNNI: with int8 weights, and those whose types are not known.
_SATURABLE = ("U8S8", "S8S8", "QDQ", "dynamic", "integer")

FloorBasis = Literal["float64", "ensemble-median", "quantisation-error", "quantum"]


class TensorSpec(Value, frozen=True, kw_only=True):
    """An input or output as the graph declares it: a number, a symbol or None for each dimension."""

    name: str
    dtype: str
    shape: list[int | str | None] | None = None


class Graph(Value, frozen=True, kw_only=True):
    """What the model's graph is made of and so needs, read without running it.

    `opsets` maps domain ("" is ONNX's own) to version; `operators` maps "Op" or "domain:Op" to a count,
    subgraphs included; `quantised` maps a scheme (U8S8, U8U8, S8S8, QDQ, dynamic) to the number of nodes.
    `weights` maps an element type (float32, int8, int4, float8e4m3fn) to the number of its constant elements.
    `subnormal` counts weights too small for a normal number: slow on a CPU that does not flush them.
    """

    sha256: str
    size: int
    ir_version: int
    producer: str = ""
    opsets: dict[str, int] = {}
    operators: dict[str, int] = {}
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    quantised: dict[str, int] = {}
    random: list[str] = []
    external_data: list[str] = []
    parameters: int = 0
    subnormal: int = 0
    weights: dict[str, int] = {}

    @property
    def heavy(self) -> dict[str, int]:
        """The operators whose provider decides speed and numbers, with how many there are."""
        return heavy(self.operators)

    @property
    def dynamic_axes(self) -> list[str]:
        """The axes without a fixed size, like `input[0]`, in order."""
        return [
            f"{spec.name}[{axis}]"
            for spec in self.inputs
            for axis, size in enumerate(spec.shape or ())
            if not isinstance(size, int)
        ]

    @property
    def saturable(self) -> int:
        """The number of nodes whose int8 products saturate on a CPU that does so (x86 without VNNI)."""
        return sum(self.quantised.get(scheme, 0) for scheme in _SATURABLE)


class Floor(Value, frozen=True, kw_only=True):
    """The measured noise floor of one output, against the float64 reference.

    `scale` is the RMS of the reference, `rms` and `max` the worst RMSE and the worst absolute error
    in the ensemble, all in the output's own unit. `basis` says what the reference and ensemble were.
    """

    basis: FloorBasis
    scale: float
    rms: float
    max: float
    members: int = 0


class Ties(Value, frozen=True, kw_only=True):
    """What tells a tie from a fault where an output holds indices of a ranking (TopK, ArgMax, ArgMin).

    `scores` is the output that holds everything that was ranked, along `axis`; or, where `listed` is above
    0, TopK's values beside the indices, so many to a list.
    """

    scores: str
    axis: int = -1
    listed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


class OutputReference(Value, frozen=True, kw_only=True):
    """What one output was in training.

    `exact` outputs (integers, booleans, strings) have no floor and must agree element by element.
    `decides` is true when the last axis holds scores of which the largest is the decision, or with `top`
    above 1 the set of so many largest; `probabilities` when they lie in [0, 1] and sum to 1 along it.
    `quantised` outputs are exact ones of 8 bits that a quantised graph rounded: one quantum more or less is
    another rounding. `ties` is there for indices whose scores are an output too: tied ones may change places.
    """

    dtype: str
    shape: list[int]
    exact: bool = False
    decides: bool = False
    floor: Floor | None = None
    probabilities: bool = False
    top: Top = 1
    quantised: bool = False
    ties: Ties | None = None


class Baseline(Document, frozen=True, kw_only=True):
    """One release as it left training: `name@version`, and what every device is held to.

    `required` names the distributions that the model's process loaded in training (canonical names);
    a difference in any other is `info`. `evidence` is what the training machine itself measured.
    `edge_cases` is how many of the samples, the last ones, were added beside those given (zeros, extremes);
    they have no labels. `timings` maps a device class to what this model took on such a device.
    """

    FORMAT: ClassVar[str] = "envcheck.baseline/1.0"

    name: str
    version: str
    created_at: str
    agent: str
    graph: Graph
    samples: int
    outputs: dict[str, OutputReference]
    required: list[str]
    providers: list[str]
    evidence: Evidence
    readings: SmokeReadings = field(default_factory=SmokeReadings)
    edge_cases: int = 0
    timings: dict[str, SmokeReadings] = {}

    @property
    def release(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"


def parse_release(text: str) -> tuple[str, str]:
    """Split NAME@VERSION; raises BadInput that says what is allowed."""
    match = _RELEASE.fullmatch(text)
    if match is None:
        raise BadInput(
            f"{text[:140]!r} is not a release",
            "a release is NAME@VERSION, like digits@1.3: a lower-case name of letters, digits, "
            "'.', '_' and '-', and a version of letters, digits, '.', '_', '+' and '-'",
        )
    return match.group(1), match.group(2)
