"""judge: what is different on this device, and what that means for this model. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.policy import Policy, Rule, Severity
from envcheck.contract.verdict import Finding
from envcheck.judge.causes import explain
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.comparison import Comparator, Comparison, Difference, Situation
from envcheck.judge.paths import MISSING, expand, get, split
from envcheck.judge.reference import Reference

# Part of the key under which findings are cached: raise it whenever equal inputs may give other findings.
JUDGE_VERSION = 1

_ORDER: dict[Severity, int] = {"block": 0, "warn": 1, "info": 2}


def judge(
    reference: Reference, device: SharedFingerprint | None, evidence: Evidence | None, policy: Policy
) -> list[Finding]:
    """Return every finding on a device, worst first.

    `device` None means that its facts are not known; `evidence` None that it has measured nothing.
    Evidence measured under another fingerprint or bundle counts as missing. What is missing, unreadable or in
    error gives findings with `unknown`; whether the whole is `unknown` is for `decide`.
    """
    if device is None:
        return [_unknown("fingerprint", "the device's facts are not known", "run: envcheck report")]
    findings: list[Finding] = []
    if policy.evidence == "ignored":
        evidence = None
    else:
        findings.extend(_evidence_state(reference, device, evidence))
        if findings:
            evidence = None
    situation = Situation(reference=reference, device=device, evidence=evidence)
    findings.extend(_rule_findings(situation, policy))
    outputs_judged = any(rule.compare == "noise-floor" for rule in policy.rules)
    explained = explain(findings, situation, outputs_judged=outputs_judged)
    return sorted(explained, key=lambda finding: (_ORDER[finding.severity], finding.unknown))


def _evidence_state(
    reference: Reference, device: SharedFingerprint, evidence: Evidence | None
) -> Iterator[Finding]:
    """Find what keeps evidence from being looked at at all: no policy can do without it silently."""
    if evidence is None:
        yield _unknown("evidence", "the model was not run on this device", "run: envcheck report")
    elif evidence.bundle != reference.bundle:
        yield _unknown("evidence", "the evidence was measured with another bundle", "run: envcheck report")
    elif evidence.fingerprint != device.digest:
        yield _unknown(
            "evidence", "the environment changed since the model was run on it", "run: envcheck report"
        )
    elif evidence.ending.status != "ok":
        ending = evidence.ending
        yield Finding(
            rule="evidence.ending",
            path="evidence.ending",
            severity="block",
            message=ending.reason or f"the model's run ended in {ending.status}",
            expected="ok",
            actual=ending.status,
            hint=ending.hint,
        )


def _rule_findings(situation: Situation, policy: Policy) -> Iterator[Finding]:
    seen: set[tuple[str, ...]] = set()
    unreadable: set[str] = set()
    for rule in policy.rules:
        comparator = COMPARATORS[rule.compare]
        if comparator.reads == "evidence" or rule.path.startswith("evidence."):
            yield from _evidence_findings(situation, rule, comparator)
        else:
            yield from _fact_findings(situation, rule, comparator, seen, unreadable)


def _evidence_findings(situation: Situation, rule: Rule, comparator: Comparator) -> Iterator[Finding]:
    if situation.evidence is None:
        return
    steps = split(rule.path)[1:]
    training = situation.reference.baseline.evidence
    for path in sorted({*expand(training, steps), *expand(situation.evidence, steps)}):
        yield from _compare(
            situation,
            rule,
            comparator,
            ("evidence", *path),
            get(training, path),
            get(situation.evidence, path),
        )


def _fact_findings(
    situation: Situation,
    rule: Rule,
    comparator: Comparator,
    seen: set[tuple[str, ...]],
    unreadable: set[str],
) -> Iterator[Finding]:
    """Compare one rule's facts. The first rule that means a path decides; later ones pass it by."""
    name, *rest = split(rule.path)
    training = situation.reference.training.sections.get(name)
    device = situation.device.sections.get(name)
    if training is None or (training.status != "ok" and not comparator.absolute):
        return
    if device is None or device.status not in ("ok", "absent"):
        if name not in unreadable:
            unreadable.add(name)
            yield _unreadable_section(rule, name, device.status if device else "", device)
        return
    if device.status == "absent":
        if name not in unreadable:
            unreadable.add(name)
            yield _finding(rule, (name,), _absent_section(name, device.reason))
        return
    source = {**device.facts, **training.facts} if comparator.absolute else training.facts
    for path in expand(source, tuple(rest)):
        if (name, *path) in seen or not _in_scope(rule, (name, *path), situation):
            continue
        seen.add((name, *path))
        expected = get(training.facts, path)
        if expected is MISSING and not comparator.absolute:
            continue
        yield from _compare(situation, rule, comparator, (name, *path), expected, get(device.facts, path))


def _compare(
    situation: Situation,
    rule: Rule,
    comparator: Comparator,
    path: tuple[str, ...],
    expected: Any,
    actual: Any,
) -> Iterator[Finding]:
    options = msgspec.convert(rule.options, comparator.options)
    difference = comparator.compare(Comparison(path, expected, actual, options, situation))
    if difference is not None:
        yield _finding(rule, path, difference)


def _finding(rule: Rule, path: tuple[str, ...], difference: Difference) -> Finding:
    severity = rule.severity
    if difference.at_most is not None and _ORDER[difference.at_most] > _ORDER[severity]:
        severity = difference.at_most
    return Finding(
        rule=rule.path,
        path=".".join(path),
        severity=severity,
        message=difference.message,
        unknown=difference.unknown,
        expected=difference.expected,
        actual=difference.actual,
        impact=difference.impact,
        cause=difference.cause,
        hint=difference.hint,
    )


def _in_scope(rule: Rule, path: tuple[str, ...], situation: Situation) -> bool:
    return rule.scope == "all" or path[1] in situation.reference.baseline.required


def _unreadable_section(rule: Rule, name: str, status: str, section: Any) -> Finding:
    reason = section.reason if section is not None else "it was not captured"
    return Finding(
        rule=rule.path,
        path=name,
        severity=rule.severity,
        message=f"{name} is {status or 'missing'}: {reason or 'no reason given'}",
        unknown=True,
        hint="run `envcheck capture` on the device to see why",
    )


def _absent_section(name: str, reason: str) -> Difference:
    return Difference(
        message=f"{name} is absent here{f' ({reason})' if reason else ''}, but was there in training",
        expected="there",
        actual="absent",
    )


def _unknown(path: str, message: str, hint: str) -> Finding:
    return Finding(rule=path, path=path, severity="block", message=message, unknown=True, hint=hint)
