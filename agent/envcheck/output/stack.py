"""The Python stack of a crash, for people."""

from __future__ import annotations

from collections.abc import Iterator

from envcheck.contract.evidence import Ending


def stack_lines(ending: Ending) -> Iterator[tuple[str, str]]:
    """Yield label and call, the innermost first."""
    for number, call in enumerate(ending.stack):
        yield "" if number else "stack", call
