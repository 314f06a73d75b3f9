"""The collector's clock, and times as they are written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

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
