"""A shadow run: a candidate beside the model in service, on the same recorded inputs."""

from __future__ import annotations

from typing import ClassVar, Literal

from envcheck.contract.document import Document, Value
from envcheck.contract.evidence import Decisions, Ending, SmokeReadings

Side = Literal["service", "candidate"]


class ShadowOutput(Value, frozen=True, kw_only=True):
    """One output: the candidate beside the model in service, over all recorded inputs.

    `problem` says in words why the two can't be compared (only one of them gives the output, another type
    or shape, NaN in other places); the numbers are then absent. `decisions` counts argmaxes that differ
    (None where nothing is decided); `agreement` is the share of decisions, or of elements of an exact
    type, that are equal. `scale` is the RMS of the model in service.
    """

    dtype: str
    elements: int
    problem: str = ""
    agreement: float | None = None
    rmse: float | None = None
    max_abs: float | None = None
    scale: float | None = None
    decisions: Decisions | None = None


class Shadow(Document, frozen=True, kw_only=True):
    """The document that `envcheck smoke --shadow --json` prints.

    `release` is the model in service, `candidate` the one that ran beside it. `files` is how many files of
    recorded inputs were run, `samples` what they held together. `differing` names the files with the most
    decisions or exact elements that differ, with their number; at most ten. `latency_ratio` is the
    candidate's median time for the first file over that of the model in service, both measured in turns.
    """

    FORMAT: ClassVar[str] = "envcheck.shadow/1.0"

    release: str
    candidate: str
    measured_at: str
    fingerprint: str
    files: int
    samples: int
    endings: dict[Side, Ending]
    outputs: dict[str, ShadowOutput] = {}
    readings: dict[Side, SmokeReadings] = {}
    differing: dict[str, int] = {}
    latency_ratio: float | None = None

    @property
    def agreement(self) -> float | None:
        """The least agreement of any output, 0 where one can't be compared; None when nothing is decided.

        An output that only the candidate has disturbs nobody.
        """
        found = [0.0 if output.problem else output.agreement for output in self._in_service()]
        return min((share for share in found if share is not None), default=None)

    def _in_service(self) -> list[ShadowOutput]:
        return [output for output in self.outputs.values() if output.problem != ADDED]


# The problem of an output that the model in service does not give.
ADDED = "only the candidate gives it"
