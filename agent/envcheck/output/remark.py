"""One thing of a fingerprint that looks wrong. Pure."""

from __future__ import annotations

from envcheck.contract.document import Value

_MAX_NAMED = 4


class Remark(Value, frozen=True, kw_only=True):
    """One thing that looks wrong: in which section, what, and what to do next."""

    section: str
    text: str
    hint: str = ""


def some(names: list[str]) -> str:
    """Name the first few, and say how many more there are."""
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
