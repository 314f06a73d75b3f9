"""What is installed as pip's requirements: pins, and the URL forms of PEP 508 where there is no index."""

from __future__ import annotations

import re

from envcheck.output.installed import Installed, Software

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_REST = re.compile(r"[^\x21-\x7e]")


def requirements_text(found: Installed) -> str:
    """Return one line for each distribution; a comment with the reason for what pip could not install."""
    python = f"{found.implementation} {found.python}".strip()
    about = ", ".join(part for part in (python, found.machine, found.system) if part)
    lines = [f"# fingerprint {found.digest}, captured {found.captured_at}", f"# {_inert(about)}"]
    return "\n".join([*lines, *(requirement(item) for item in found.software)]) + "\n"


def requirement(item: Software) -> str:
    """Return the line of one distribution."""
    if why := _not_installable(item):
        return _inert(f"# {item.name} {item.version}".rstrip() + f": {why}")
    if item.origin == "editable":
        return f"-e {item.reference}"
    if item.reference:
        return f"{item.name} @ {item.reference}"
    return f"{item.name}=={item.version}"


def _not_installable(item: Software) -> str:
    from packaging.version import InvalidVersion, Version

    if _NAME.fullmatch(item.name) is None or _REST.search(item.reference):
        return "its name or address is none that pip reads"
    if item.broken:
        return item.broken
    if item.origin == "conda":
        return " ".join(part for part in ("from conda", item.conda_channel, item.conda_build) if part)
    if item.origin != "index":
        return "" if item.reference else f"from a place that is not known ({item.origin})"
    try:
        Version(item.version)
    except InvalidVersion:
        return "its version is none that pip reads"
    return ""


def _inert(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
