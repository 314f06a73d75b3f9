"""The collector's clock, and times as they are written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from envcheck.errors import BadInput
from envcheck.judge.decide import parse_time

# About 30 years: no age that is asked about is longer, and no time that comes of it is beyond the calendar.
LONGEST_AGE_S = 10**9

# Whole seconds since 1970 in UTC.
Clock = Callable[[], int]


def written(seconds: int | None) -> str:
    """Write a time as RFC 3339 in UTC, nothing as nothing."""
    if seconds is None:
        return ""
    return moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(seconds: int) -> datetime:
    """Return the time as a datetime in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def read_seconds(text: str, path: str) -> int:
    """Read a time as whole seconds since 1970; raises BadInput naming `path`."""
    try:
        return int(parse_time(text, path).timestamp())
    except OverflowError:
        raise BadInput(f"{path}: {text[:40]!r} is before or after all time") from None
