"""Texts of crashed processes, made the same on every device of one image."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envcheck.contract.text import inert

_LIMIT = 300
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# An absolute path: all but its last part says where, not what.
_DIRECTORY = re.compile(r"(?<![\w.:/-])/(?:[^\s/'\"():;,]+/)+")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?")
_CURRENT = re.compile(r"^Current thread 0x[^\n]*\n((?:  [^\n]*\n?)*)", re.MULTILINE)
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]*)", line (?P<line>\d{1,9}) in (?P<function>\S+)', re.MULTILINE)
# Below these lie packages, whose names tell what a module is.
_PACKAGES = re.compile(r".*/(?:(?:site|dist)-packages|python\d[\d.]*t?)/(?P<module>.+)")
_CHILD = re.compile(r"child(?:_[a-z]+)?\.py")
_MOST_CALLS = 8
_NAME_LIMIT = 60


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
    """Return the innermost Python call of faulthandler's dump: `run of package/module.py`, "" for none."""
    return next((call for call, _, _ in _calls(fault)), "")


def python_stack(fault: str) -> list[str]:
    """Return the innermost Python calls of faulthandler's dump: `run of package/module.py:220`.

    They end with the smoke child's own: what called that is the same in every run.
    """
    found: list[str] = []
    for call, line, ours in _calls(fault):
        found.append(f"{call}:{line}")
        if ours or len(found) == _MOST_CALLS:
            break
    return found


def _calls(fault: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the calls of the thread that crashed: function and file, line, whether it is the smoke child's.

    A thread that Python does not know has no calls of its own: then those of all threads are told. The
    machinery of imports is passed over: what was being imported tells more.
    """
    current = _CURRENT.search(fault)
    for match in _FRAME.finditer(current[1] if current is not None else fault):
        if match["file"].startswith("<"):
            continue
        function, file = inert(match["function"])[:_NAME_LIMIT], inert(_module(match["file"]))[:_NAME_LIMIT]
        yield f"{function} of {file}", match["line"], _CHILD.fullmatch(file) is not None


def _module(path: str) -> str:
    """Return a file's name, in a package with the last directory: any other tells where, not what."""
    found = _PACKAGES.fullmatch(path)
    return "/".join(found["module"].split("/")[-2:]) if found is not None else path.rpartition("/")[2]
