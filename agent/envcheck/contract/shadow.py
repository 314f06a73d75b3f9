"""A shadow run: a candidate beside the model in service, on the same recorded inputs."""

from __future__ import annotations

from typing import ClassVar

from envcheck.contract.document import Document, Value
from envcheck.contract.evidence import Decisions, Ending, SmokeReadings


class ShadowOutput(Value, frozen=True, kw_only=True):
    """One output that both models have: the candidate beside the model in service.

    `decisions` counts argmaxes that differ (None where nothing is decided); `agreement` is the share of
    decisions, or of elements of an exact type, that are equal. `scale` is the RMS of the model in service.
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

    `files` is how many files of recorded inputs were run, `samples` what they held together. `latency_ratio`
    is the candidate's p50 (or median) over that of the model in service, both measured in this run.
    """

    FORMAT: ClassVar[str] = "envcheck.shadow/1.0"

    release: str
    candidate: str
    measured_at: str
    fingerprint: str
    files: int
    samples: int
    endings: dict[str, Ending]
    outputs: dict[str, ShadowOutput] = {}
    readings: dict[str, SmokeReadings] = {}
    latency_ratio: float | None = None
