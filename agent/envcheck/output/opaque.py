"""Facts are opaque, and a document may come from elsewhere: its values are read with their types in doubt."""

from __future__ import annotations

from typing import Any


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return a list, an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def strings(value: Any) -> list[str]:
    """Return the strings in a list."""
    return [item for item in items(value) if isinstance(item, str)]


def number(value: Any) -> float | None:
    """Return a number, None in place of anything else; True and False are none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
