"""The gate: are these devices ready for this release, and if not, why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from envcheck.contract.selector import is_device_id, parse_selector
from envcheck.contract.verdict import Finding, Outcome, Verdict, Waiver
from envcheck.contract.wire import (
    MOST_EXPECTED,
    UNREADABLE,
    GateAnswer,
    GateGroup,
    GateQuestion,
    GateWaiver,
    Result,
)
from envcheck.errors import BadInput
from envcheck.judge.decide import DeviceReadings, decide, parse_age
from envcheck.judge.paths import matches, split
from envcheck.judge.terms import Terms, limits_of
from envcheck_server.service.common import Environment, in_common
from envcheck_server.service.judgements import Case, Held, JudgementService
from envcheck_server.service.releases import ReleaseService
from envcheck_server.service.times import LONGEST_AGE_S, Clock, moment
from envcheck_server.service.waivers import WaiverService
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Cuts, Group, Readings, Statement, Survey

# Why a device that may not speak is unknown, and what to do about it.
_STATES = {
    "pending": ("it waits to be accepted", "on the collector: envcheck-server device accept DEVICE"),
    "quarantined": (
        "it is in quarantine: two machines may use its key",
        "on the collector: envcheck-server device accept DEVICE, or revoke",
    ),
}
_SILENT = ("it has never reported", "on the device: envcheck report, and enable its timer")
_FROM_THE_FUTURE = (
    "it was heard of at a time that is yet to come",
    "the collector's clock went back: set it right, and wait for the next report",
)
# Corrections of a clock that make nothing doubtful.
_CLOCK_STEP_S = 300
_NAMED = 5
# What no statement is called: their numbers have 64 bits.
_NONE = 1 << 64
_COMPARED: tuple[Outcome, Outcome] = ("fail", "pass")


@dataclass(slots=True)
class _Answered:
    """Groups of devices that got one answer for one reason."""

    outcome: Outcome
    finding: Finding | None
    groups: list[Group] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)


@dataclass(frozen=True, slots=True)
class Judged:
    """Statements by their number as cases and as deployed models; the findings and terms of cases."""

    cases: dict[int, Case]
    models: dict[int, str]
    findings: dict[Case, list[Finding]]
    terms: dict[Case, Terms]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What devices are held to, the one moment at which that is decided, and the waivers that hold then."""

    held: Held
    now: int
    max_age_s: int | None
    waivers: list[Waiver]

    def cuts(self) -> Cuts:
        """Return where `_verdict` draws its lines."""
        policy = self.held.policy
        age = parse_age(policy.max_age, "max_age") if self.max_age_s is None else self.max_age_s
        return Cuts(
            bundle=self.held.release.bundle,
            seen_before=self.now - age,
            seen_until=self.now + _CLOCK_STEP_S,
            **{name: tuple(limits) for name, limits in _limits(self.held).items()},
            waivers=tuple(parse_selector(one.selector).matches for one in self.waivers if one.selector),
        )

    def meant(self, group: Group) -> list[Waiver]:
        """Return the waivers for the devices of a group, as it was counted: whatever their labels are now."""
        return [
            msgspec.structs.replace(one, selector="")
            for place, one in enumerate(self.waivers)
            if not one.selector or group.waivers >> place & 1
        ]


class GateService:
    """Answers gate questions. Its cost grows with distinct environments, not with devices."""

    def __init__(
        self, store: Store, releases: ReleaseService, judgements: JudgementService, clock: Clock
    ) -> None:
        self._store = store
        self._releases = releases
        self._judgements = judgements
        self._waivers = WaiverService(store, clock)
        self._clock = clock

    def answer(self, question: GateQuestion) -> GateAnswer:
        """Answer a question; raises BadInput for one that makes no sense, NotKnown for its release."""
        _check(question)
        held = self._judgements.hold(self._releases.find(question.release))
        selector = parse_selector(question.cohort)
        now = self._clock()
        asked = _Asked(held, now, question.max_age_s, self._waivers.active(now))
        cuts = asked.cuts()
        selects = selector.matches if selector.terms else None
        # Asked first: a device that enrols meanwhile is then counted twice, and never not at all.
        missing, first = self._store.expected.absent(selects, _NAMED, set(question.expect))
        survey = self._store.fleet.survey(selects, cuts, set(question.expect))
        verdicts = self._verdicts(asked, survey)
        answered = _merge(survey.groups, verdicts)
        told = [self._tell(one, survey.label_sets, cuts) for one in answered]
        if survey.absent:
            told.append(_absent_group(survey.absent))
        if missing:
            told.append(_missing_group(missing, first))
        total = {outcome: sum(one.count for one in told if one.outcome == outcome) for outcome in _ORDER}
        return GateAnswer(
            release=question.release,
            cohort=question.cohort,
            outcome=gate_outcome(total["pass"], total["fail"], total["unknown"], question),
            total=sum(total.values()),
            ready=total["pass"],
            blocked=total["fail"],
            unknown=total["unknown"],
            min_ready=question.min_ready,
            max_unknown=question.max_unknown,
            groups=sorted(told, key=lambda one: (_ORDER[one.outcome], -one.count, one.reason)),
            common=self._common(held, survey.groups, verdicts),
            waivers=_used(asked, survey.groups, verdicts),
        )

    def verdict(self, held: Held, group: Group, judged: Judged, readings: Readings | None) -> Verdict:
        """Return the verdict on the first device of a group, by the policy's own age."""
        now = self._clock()
        asked = _Asked(held, now, None, self._waivers.active(now))
        return _verdict(asked, group, judged, readings, asked.waivers)

    def _verdicts(self, asked: _Asked, survey: Survey) -> list[Verdict]:
        """Decide for the first device of every group: the others of it differ in nothing that counts."""
        judged = self.judged(asked.held, self._statements(survey.groups))
        return [
            _verdict(asked, group, judged, survey.readings.get(group.first), asked.meant(group))
            for group in survey.groups
        ]

    def judged(self, held: Held, statements: Mapping[int, Statement]) -> Judged:
        """Judge what devices state, by the number of the statement."""
        cases = {number: held.case(one.fingerprint, one.evidence) for number, one in statements.items()}
        distinct = set(cases.values())
        return Judged(
            cases,
            {number: one.model for number, one in statements.items()},
            self._judgements.findings(held, distinct),
            self._judgements.terms(held, distinct),
        )

    def _statements(self, groups: Sequence[Group]) -> dict[int, Statement]:
        return self._store.reports.statements(
            {group.statement for group in groups if group.statement is not None}
        )

    def _tell(self, answered: _Answered, label_sets: list[int] | None, cuts: Cuts) -> GateGroup:
        firsts = sorted(group.first for group in answered.groups)
        if answered.count > len(firsts):
            firsts = self._store.fleet.first(label_sets, cuts, answered.groups, _NAMED)
        finding = answered.finding
        return GateGroup(
            outcome=answered.outcome,
            reason=finding.message if finding else "",
            count=answered.count,
            devices=firsts[:_NAMED],
            path=finding.path if finding else "",
            cause=finding.cause if finding else "",
            hint=finding.hint if finding else "",
        )

    def _common(self, held: Held, groups: Sequence[Group], verdicts: Sequence[Verdict]) -> list[str]:
        counts: dict[Outcome, dict[str, int]] = {"fail": {}, "pass": {}}
        statements = self._statements(groups)
        for group, verdict in zip(groups, verdicts, strict=True):
            if group.statement is not None and verdict.outcome in counts:
                fingerprint = statements[group.statement].fingerprint
                counted = counts[verdict.outcome]
                counted[fingerprint] = counted.get(fingerprint, 0) + group.count
        if not counts["fail"] or not counts["pass"]:
            return []
        known = self._judgements.fingerprints({*counts["fail"], *counts["pass"]})
        blocked, ready = (
            [Environment(known[name], count) for name, count in counts[outcome].items() if name in known]
            for outcome in _COMPARED
        )
        return in_common(blocked, ready, held.reference.baseline.required)


_ORDER: dict[Outcome, int] = {"pass": 0, "fail": 1, "unknown": 2}


def gate_outcome(ready: int, blocked: int, unknown: int, question: GateQuestion) -> Outcome:
    """Return pass, fail or unknown for a cohort; one without devices is unknown."""
    total = ready + blocked + unknown
    if total == 0:
        return "unknown"
    if ready / total >= question.min_ready and unknown / total <= question.max_unknown:
        return "pass"
    return "fail" if (ready + unknown) / total < question.min_ready else "unknown"


def worst(verdict: Verdict) -> Finding | None:
    """Return the finding that decided a verdict, None for a pass."""
    unknown = verdict.outcome == "unknown"
    return next((one for one in verdict.findings if one.severity == "block" and one.unknown == unknown), None)


def _merge(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> list[_Answered]:
    """Join groups of one reason. Where a cause is known, it is the reason, whatever the figures were."""
    merged: dict[tuple[str, str, str], _Answered] = {}
    ordered = sorted(zip(groups, verdicts, strict=True), key=lambda pair: -pair[0].count)
    for group, verdict in ordered:
        finding = worst(verdict)
        reason = (finding.cause or _without_figures(finding)) if finding else ""
        key = (verdict.outcome, finding.path if finding else "", reason)
        merged.setdefault(key, _Answered(verdict.outcome, finding)).groups.append(group)
    return list(merged.values())


def _without_figures(finding: Finding) -> str:
    """Return what makes a finding's reason: readings and outputs differ in figures from device to device."""
    return finding.rule if finding.path.startswith(("readings.", "evidence.outputs.")) else finding.message


def _verdict(
    asked: _Asked, group: Group, judged: Judged, readings: Readings | None, waivers: Sequence[Waiver]
) -> Verdict:
    """Return the verdict on the first device of a group."""
    held = asked.held
    number = group.statement if group.statement is not None else _NONE
    case = judged.cases.get(number)
    if group.state != "accepted" or case is None or readings is None:
        return _unknown(held, group, *_STATES.get(group.state, _SILENT))
    if readings.seen_at is not None and readings.seen_at > asked.now + _CLOCK_STEP_S:
        return _unknown(held, group, *_FROM_THE_FUTURE)
    return decide(
        judged.findings[case],
        DeviceReadings(
            seen_at=None if readings.seen_at is None else moment(readings.seen_at),
            result=_result(readings, held.release.bundle, case.evidence),
            **_deployed(judged.models[number]),
        ),
        readings.labels,
        waivers,
        held.policy,
        moment(asked.now),
        release=held.release.release,
        subject=group.first,
        max_age_s=asked.max_age_s,
        terms=judged.terms[case],
    )


def _deployed(model: str) -> dict[str, str]:
    """Return what `decide` is to know of the deployed model."""
    return {"model_problem": "the device can't read it"} if model == UNREADABLE else {"model": model}


def _limits(held: Held) -> dict[str, list[float]]:
    return limits_of(held.policy, held.reference.baseline)


def _unknown(held: Held, group: Group, message: str, hint: str) -> Verdict:
    finding = Finding(
        rule="report", path="report", severity="block", unknown=True, message=message, hint=hint
    )
    return Verdict(
        outcome="unknown",
        release=held.release.release,
        findings=[finding],
        policy=held.policy.name,
        subject=group.first,
    )


def _result(readings: Readings, bundle: str, evidence: str) -> Result | None:
    fields: dict[str, Any] | None = json.loads(readings.results).get(bundle)
    return None if fields is None else msgspec.convert({**fields, "evidence": evidence}, Result)


def _absent_group(absent: list[str]) -> GateGroup:
    return GateGroup(
        outcome="unknown",
        reason="it is expected, but is not among these devices",
        count=len(absent),
        devices=absent[:_NAMED],
        path="report",
        hint="enrol it, or label it so that the cohort means it",
    )


def _missing_group(count: int, first: list[str]) -> GateGroup:
    return GateGroup(
        outcome="unknown",
        reason="the inventory expects it, but it never enrolled, or was revoked",
        count=count,
        devices=first,
        path="report",
        hint="enrol it, or take it out of the inventory: envcheck-server device expect FILE",
    )


def _used(asked: _Asked, groups: Sequence[Group], verdicts: Sequence[Verdict]) -> list[GateWaiver]:
    """Return the waivers but for which some finding would have counted."""
    counts: dict[str, int] = {}
    for group, verdict in zip(groups, verdicts, strict=True):
        paths = [split(finding.path) for finding in verdict.waived]
        for waiver in asked.meant(group) if paths else ():
            if any(matches(waiver.path, path) for path in paths):
                counts[waiver.name] = counts.get(waiver.name, 0) + group.count
    return [
        GateWaiver(
            name=one.name,
            path=one.path,
            reason=one.reason,
            expires_at=one.expires_at,
            count=counts[one.name],
        )
        for one in sorted(asked.waivers, key=lambda one: one.name)
        if one.name in counts
    ]


def _check(question: GateQuestion) -> None:
    checks: list[tuple[str, Callable[[], bool], str]] = [
        ("min_ready", lambda: 0 <= question.min_ready <= 1, "a fraction from 0 to 1"),
        ("max_unknown", lambda: 0 <= question.max_unknown <= 1, "a fraction from 0 to 1"),
        ("max_age_s", lambda: 0 <= (question.max_age_s or 0) <= LONGEST_AGE_S, "seconds, none or more"),
    ]
    for name, holds, wanted in checks:
        if not holds():
            raise BadInput(f"{name} is out of range", f"it is {wanted}")
    if len(question.expect) > MOST_EXPECTED:
        raise BadInput(
            f"expect: {len(question.expect)} devices are named, at most {MOST_EXPECTED} can be",
            "for more keep an inventory: envcheck-server device expect FILE",
        )
    for device in question.expect:
        if not is_device_id(device):
            raise BadInput(f"expect: {device[:80]!r} can't be a device's id")
