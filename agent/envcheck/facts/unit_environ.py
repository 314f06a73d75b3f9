"""The variables that a service is started with, put together in systemd's order."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from envcheck.contract.fingerprint import Status
from envcheck.errors import BadInput
from envcheck.facts.env_file import parse_env_file
from envcheck.facts.host import Host
from envcheck.facts.unit_command import PATH
from envcheck.facts.unit_files import Settings
from envcheck.facts.unit_user import Account
from envcheck.facts.unit_values import split_words, variables


@dataclass(frozen=True)
class Problem:
    """Why the variables are not all known, as the status of the section that tells them."""

    status: Status
    reason: str


def environment(settings: Settings, account: Account, host: Host) -> tuple[dict[str, str], Problem | None]:
    """Return the variables, as far as they can be known, and why some of them can't.

    The manager's, those of the user, passed on ones, the unit's own, those of its files; last what is unset.
    """
    environ = {"PATH": PATH, **variables(" ".join(settings.get("ManagerEnvironment", [])))}
    environ.update(account.variables())
    passed, problem = _passed(settings, host)
    environ.update(passed)
    environ.update(variables(" ".join(settings.get("Environment", []))))
    for entry in settings.get("EnvironmentFiles") or settings.get("EnvironmentFile") or []:
        found, trouble = _env_file(entry, host)
        environ.update(found)
        problem = problem or trouble
    for entry in split_words(" ".join(settings.get("UnsetEnvironment", []))):
        key, separator, value = entry.partition("=")
        if not separator or environ.get(key) == value:
            environ.pop(key, None)
    return environ, problem


def _passed(settings: Settings, host: Host) -> tuple[dict[str, str], Problem | None]:
    """Return what PassEnvironment= hands on of the manager's own variables."""
    names = split_words(" ".join(settings.get("PassEnvironment", [])))
    # A user's manager hands on all of its own anyway.
    if not names or settings.get("Manager"):
        return {}, None
    from envcheck.facts.running import parse_environ

    try:
        own = parse_environ(host.read("/proc/1/environ"))
    except (FileNotFoundError, NotADirectoryError):
        return {}, None  # no manager runs there
    except OSError:
        return {}, Problem("unreadable", "this user may not see the variables that PassEnvironment= hands on")
    return {name: own[name] for name in names if name in own}, None


def _env_file(entry: str, host: Host) -> tuple[dict[str, str], Problem | None]:
    """Read one file of variables, named as by systemctl (PATH (ignore_errors=no)) or in a unit (-PATH).

    A file that is optional may be missing, but not kept from us: the service may read it.
    """
    path, _, note = entry.partition(" (ignore_errors=")
    optional = path.startswith("-") or note.startswith("yes")
    path = path.lstrip("-").strip()
    found: dict[str, str] = {}
    try:
        for file in _globbed(path, host):
            found.update(parse_env_file(host.read(file), file, lenient=True))
    except (FileNotFoundError, NotADirectoryError):
        gone = Problem("error", f"the service can't start: its EnvironmentFile {path} is not there")
        return found, None if optional else gone
    except OSError:
        return found, Problem("unreadable", f"this user may not read its EnvironmentFile {path}")
    except BadInput as error:
        return found, Problem("error", error.message)
    return found, None


def _globbed(path: str, host: Host) -> list[str]:
    folder, _, pattern = path.rpartition("/")
    if not any(mark in pattern for mark in "*?["):
        return [path]
    try:
        return [f"{folder}/{file}" for file in fnmatch.filter(host.names(folder), pattern)]
    except (FileNotFoundError, NotADirectoryError):
        return []
