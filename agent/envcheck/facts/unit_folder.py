"""Where a service works: what is relative in its command and its variables begins there."""

from __future__ import annotations

import os

from envcheck.facts.host import Host
from envcheck.facts.unit_environ import Problem
from envcheck.facts.unit_files import Settings
from envcheck.facts.unit_user import Account


def working_directory(
    text: str, settings: Settings, account: Account, host: Host
) -> tuple[str, Problem | None]:
    """Return the directory and why the service, or this user, can't be in it.

    WorkingDirectory= may begin with - or, from systemctl, with !: then the service does without one that is
    missing. ~ is its user's home, which services of a user's own manager begin in anyway.
    """
    home = account.home or "/"
    named = text.lstrip("-!")
    folder = home if named == "~" else named or (home if settings.get("Manager") else "/")
    try:
        entered = os.access(host.real(folder), os.X_OK, effective_ids=True)
        there = entered or bool(os.stat(host.real(folder)))  # noqa: PTH116 a path of another root
    except (FileNotFoundError, NotADirectoryError):
        there = entered = False
    except OSError:
        there, entered = True, False
    if entered or (not there and text[:1] in ("-", "!")):
        return folder, None
    if there:
        return folder, Problem("unreadable", f"this user may not enter its WorkingDirectory {folder}")
    return folder, Problem("error", f"the service can't start: its WorkingDirectory {folder} is not there")


def is_relative(text: str) -> bool:
    """Whether a list of folders holds one that begins at the working directory."""
    return bool(text) and not all(part.startswith("/") for part in text.split(":"))
