"""What click would make of plain arguments of `capture`, without importing it.

Only the forms that the help shows are read here; all else (`--option=value`, a value that begins with a
dash, errors, `--help`) is left to click. A test holds both to the same answer.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_FLAGS = {"--json": "as_json", "--verify": "verify"}
_VALUES = {
    "--python": "python",
    "--unit": "unit",
    "--container": "container",
    "--model": "model",
    "--env-file": "env_file",
    "--root": "root",
    "--output": "output",
    "-o": "output",
    "--deadline": "deadline",
    "--config": "config",
}
_LISTS = {"--section": "sections"}


def plain_options(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return the given options by their parameters' names; None: these arguments are click's to read."""
    if "_ENVCHECK_COMPLETE" in os.environ:
        return None
    found: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument in _FLAGS:
            found[_FLAGS[argument]] = True
            continue
        value = next(rest, "-")
        if value.startswith("-"):
            return None
        if argument in _LISTS:
            found[_LISTS[argument]] = (*found.get(_LISTS[argument], ()), value)
        elif argument in _VALUES and _VALUES[argument] not in found:
            found[_VALUES[argument]] = value
        else:
            return None
    return _numbered(found)


def _numbered(found: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return {**found, "deadline": float(found["deadline"])} if "deadline" in found else found
    except ValueError:
        return None
