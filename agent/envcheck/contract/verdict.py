"""Findings, waivers and verdicts: what `judge` and `decide` say."""

from __future__ import annotations

from typing import ClassVar, Literal

from envcheck.contract.document import Document, Value
from envcheck.contract.policy import Severity

Outcome = Literal["pass", "fail", "unknown"]
MeasureState = Literal["pass", "drift", "fail", "unknown"]


class Finding(Value, frozen=True, kw_only=True):
    """One difference between the baseline and a device.

    `rule` is the path of the policy's rule, `path` where the difference is (`packages.numpy.version`).
    With `unknown` the thing could not be determined (missing, stale, unreadable): a blocking finding
    then makes the verdict unknown instead of fail. `expected` and `actual` are written
    for people. `impact` says what it means for this model, `cause` why, `hint` how to mend it.
    """

    rule: str
    path: str
    severity: Severity
    message: str
    unknown: bool = False
    expected: str = ""
    actual: str = ""
    impact: str = ""
    cause: str = ""
    hint: str = ""


class Measure(Value, frozen=True, kw_only=True):
    """One number that a device was held to, beside its limit, also when it is well within.

    `output` is the output's name, "" for what is not of one. `tolerance` is the most that is allowed, or with
    accuracy the least. `drift` is within the tolerance, but beyond what healthy machines show.
    """

    metric: str
    state: MeasureState
    output: str = ""
    value: float | None = None
    tolerance: float | None = None


class Findings(Document, frozen=True, kw_only=True):
    """What `judge` returns, as it is cached: a pure function of bundle, fingerprint, evidence and policy."""

    FORMAT: ClassVar[str] = "envcheck.findings/1.0"

    findings: list[Finding]


class Waiver(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named, expiring exception: findings at `path` do not block devices of `selector`.

    `path` names what it is about, or something above it (`packages.numpy`, `packages.*.version`); it does not
    begin with `*`. Only a known difference can be waived: not what could not be determined, and not a
    model that did not run to its end.
    """

    name: str
    path: str
    expires_at: str
    reason: str
    selector: str = ""


class Verdict(Document, frozen=True, kw_only=True):
    """The answer for one device and one release.

    `measures` are the numbers behind it, where the evidence was at hand (`check` and `diff`).
    """

    FORMAT: ClassVar[str] = "envcheck.verdict/1.0"

    outcome: Outcome
    release: str
    findings: list[Finding] = []
    waived: list[Finding] = []
    policy: str = ""
    subject: str = ""
    measures: list[Measure] = []
