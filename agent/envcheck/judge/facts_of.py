"""Reads single facts out of a fingerprint: what is not of the wanted kind counts as not there."""

from __future__ import annotations

from typing import Any

from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.judge.paths import get, split


def text(device: SharedFingerprint, path: str) -> str:
    """Return the fact at `path` if it is text, else "": facts of strange devices may be anything."""
    value = _fact(device, path)
    return value if isinstance(value, str) else ""


def number(device: SharedFingerprint, path: str) -> float | None:
    """Return the fact at `path` if it is a number."""
    value = _fact(device, path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def texts(device: SharedFingerprint, path: str) -> list[str]:
    """Return those elements of the list at `path` that are text."""
    value = _fact(device, path)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def mapping(device: SharedFingerprint, path: str) -> dict[str, Any]:
    """Return the mapping at `path`, an empty one when there is none."""
    value = _fact(device, path)
    return value if isinstance(value, dict) else {}


def items(device: SharedFingerprint, path: str) -> list[dict[str, Any]]:
    """Return those elements of the list at `path` that are mappings."""
    value = _fact(device, path)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def minor_of(python: str) -> str:
    """Return 3.11 of 3.11.7."""
    return ".".join(python.split(".")[:2])


def some(names: list[str], limit: int = 6) -> str:
    """Name the first few and count the others."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _fact(device: SharedFingerprint, path: str) -> Any:
    section, *steps = split(path)
    found = device.sections.get(section)
    return get(found.facts, tuple(steps)) if found is not None else None
