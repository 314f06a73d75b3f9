"""Texts of crashed processes, made the same on every device of one image."""

from __future__ import annotations

import re

_LIMIT = 300
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# An absolute path: all but its last part says where, not what.
_DIRECTORY = re.compile(r"(?<![\w.:/-])/(?:[^\s/'\"():;,]+/)+")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?")
_FRAME = re.compile(r'^  File "(?P<file>[^"]*)", line \d+ in (?P<function>\S+)', re.MULTILINE)


def scrub(text: str) -> str:
    """Drop directories, addresses, times and line ends from `text`, and bound its length."""
    text = _ESCAPES.sub("", text)
    text = _TIME.sub("", _ADDRESS.sub("0x...", _DIRECTORY.sub("", text)))
    text = " ".join(text.split())
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."


def last_line(stderr: str) -> str:
    """Return the last line of `stderr` that is not empty, scrubbed."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return scrub(lines[-1]) if lines else ""


def innermost_call(fault: str) -> str:
    """Return the innermost Python call of faulthandler's dump: `run in package/module.py`.

    The machinery of imports is passed over: what was being imported tells more.
    """
    for match in _FRAME.finditer(fault):
        file = match["file"]
        if not file.startswith("<"):
            parts = file.split("/")[-2:]
            return f"{match['function']} of {'/'.join(parts[-1:] if parts[-1] == 'child.py' else parts)}"
    return ""
