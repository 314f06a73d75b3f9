"""decide: findings, readings, labels, waivers and the time give a verdict. Pure and cheap.

Timings, throttling, age and waivers live only here, so that `judge` can be cached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from envcheck.contract.policy import Policy
from envcheck.contract.selector import parse_selector
from envcheck.contract.verdict import Finding, Outcome, Verdict, Waiver
from envcheck.errors import BadInput
from envcheck.judge.paths import matches, split
from envcheck.judge.readings import DeviceReadings, judge_readings
from envcheck.judge.terms import Terms, stated_terms

__all__ = ["DeviceReadings", "Terms", "decide", "parse_age", "parse_time"]

_AGE = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)?")
_LONGEST_S = 10**9
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def decide(
    findings: Sequence[Finding],
    readings: DeviceReadings,
    labels: Mapping[str, str],
    waivers: Sequence[Waiver],
    policy: Policy,
    now: datetime,
    *,
    release: str,
    subject: str = "",
    max_age_s: int | None = None,
    terms: Terms | None = None,
) -> Verdict:
    """Return the verdict for one device and release.

    A blocking finding fails; one that could not be determined makes the verdict unknown instead; a
    real block outranks an unknown. `max_age_s` overrides the policy's. `terms` are what readings are held to
    (`terms_of`), the same for every device of one environment; without them only the policy's general
    limits are known, and what else it states of readings is unknown.
    """
    held = judge_readings(readings, terms or stated_terms(policy))
    everything = [*findings, *_age(readings, policy, now, max_age_s), *held]
    kept: list[Finding] = []
    waived: list[Finding] = []
    for finding in everything:
        (waived if _is_waived(finding, labels, waivers, now) else kept).append(finding)
    return Verdict(
        outcome=_outcome(kept),
        release=release,
        findings=kept,
        waived=waived,
        policy=policy.name,
        subject=subject,
    )


def parse_age(value: str | int, source: str) -> int:
    """Read an age (`24h`, `90m`, `7d`, seconds), at most 30 years; raises BadInput naming `source`."""
    match = _AGE.fullmatch(str(value).strip())
    seconds = -1 if match is None else int(match.group(1)) * _UNITS[match.group(2) or "s"]
    if not 0 <= seconds <= _LONGEST_S:
        raise BadInput(f"{source}: {str(value)[:40]!r} is not an age", "an age is like 90m, 24h or 7d")
    return seconds


def parse_time(text: str, source: str) -> datetime:
    """Read an RFC 3339 time with its zone; raises BadInput naming `source`."""
    try:
        # Python 3.10 does not read the Z that RFC 3339 prefers.
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
        zoned = time.astimezone(timezone.utc) if time.tzinfo is not None else None
    except (ValueError, OverflowError):  # not a time, or one that is beyond all time in UTC
        zoned = None
    if zoned is None:
        raise BadInput(f"{source}: {text[:40]!r} is not a time", "a time is like 2026-01-31T12:00:00Z")
    return zoned


def _outcome(findings: Sequence[Finding]) -> Outcome:
    blocking = [finding for finding in findings if finding.severity == "block"]
    if any(not finding.unknown for finding in blocking):
        return "fail"
    return "unknown" if blocking else "pass"


def _age(readings: DeviceReadings, policy: Policy, now: datetime, max_age_s: int | None) -> Iterator[Finding]:
    if readings.seen_at is None:
        return
    limit = parse_age(policy.max_age, "max_age") if max_age_s is None else max_age_s
    if now - readings.seen_at > timedelta(seconds=limit):
        yield Finding(
            rule="max_age",
            path="report",
            severity="block",
            unknown=True,
            message=f"no report for more than {_written(limit)}",
            expected=f"within {_written(limit)}",
            actual=readings.seen_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            hint="is the device on, and its envcheck-report.timer active?",
        )


def _is_waived(finding: Finding, labels: Mapping[str, str], waivers: Sequence[Waiver], now: datetime) -> bool:
    """Tell whether a difference that is known and blocks is excepted.

    What could not be determined is no difference yet, and behind a run that did not end well
    nothing was looked at: neither can be waived.
    """
    if finding.severity != "block" or finding.unknown or finding.path == "evidence.ending":
        return False
    return any(
        not waiver.path.startswith("*")
        and matches(waiver.path, split(finding.path))
        and parse_time(waiver.expires_at, f"waiver {waiver.name}") > now
        and parse_selector(waiver.selector).matches(labels)
        for waiver in waivers
    )


def _written(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0 and (unit != "d" or seconds > 86400):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
