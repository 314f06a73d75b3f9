"""From a rule and a difference to a finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from envcheck.contract.policy import Rule, Severity
from envcheck.contract.verdict import Finding
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.comparison import Comparison, Difference, Situation

_ORDER: dict[Severity, int] = {"block": 0, "warn": 1, "info": 2}


def compare(
    situation: Situation, rule: Rule, path: tuple[str, ...], expected: Any, actual: Any
) -> Iterator[Finding]:
    """Compare one concrete path as the rule says."""
    comparator = COMPARATORS[rule.compare]
    options = msgspec.convert(rule.options, comparator.options)
    difference = comparator.compare(Comparison(path, expected, actual, options, situation))
    if difference is not None:
        yield finding_of(rule, path, difference)


def finding_of(rule: Rule, path: tuple[str, ...], difference: Difference) -> Finding:
    """Write a difference as a finding, as gravely as the rule says and the difference allows."""
    severity = rule.severity
    if difference.at_most is not None and _ORDER[difference.at_most] > _ORDER[severity]:
        severity = difference.at_most
    if difference.left_out and severity == "warn":
        severity = "info"
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


def undetermined(path: str, message: str, hint: str) -> Finding:
    """Return the finding that blocks because something could not be determined, whatever the policy."""
    return Finding(rule=path, path=path, severity="block", message=message, unknown=True, hint=hint)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings worst first; what two rules say in the same words is said once, by the graver."""
    kept: dict[tuple[str, str], Finding] = {}
    for finding in sorted(findings, key=lambda finding: (_ORDER[finding.severity], finding.unknown)):
        kept.setdefault((finding.path, finding.message), finding)
    return list(kept.values())
