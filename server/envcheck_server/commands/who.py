"""Who types: for the audit log."""

from __future__ import annotations

import os
import pwd


def who() -> str:
    """Return `user:NAME`, and who became root if sudo says so; a user without a name is told by number."""
    number = os.getuid()
    name = _name(number)
    before = os.environ.get("SUDO_UID", "")
    if number == 0 and before.isdecimal():
        return f"user:{_name(int(before))} as {name}"
    return f"user:{name}"


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return str(number)
