"""A running service as /proc shows it: which of its processes serves, and with what it was started."""

from __future__ import annotations

import os
from dataclasses import replace

from envcheck.facts.host import Host
from envcheck.facts.section import cpu_list
from envcheck.facts.unit import LIMITS, Unit
from envcheck.facts.unit_command import interpreter_of
from envcheck.facts.unit_user import rights_of

_PROCESSES = 256
_NAMES = {"AS": "Max address space", "DATA": "Max data size", "MEMLOCK": "Max locked memory",
          "NOFILE": "Max open files", "STACK": "Max stack size"}  # fmt: skip


def observed(unit: Unit, main: int, host: Host) -> Unit:
    """Return the unit as its running process has it; what may not be seen stays as the unit's files say.

    The serving process is the main one or, below a shell that waits for it, the first that is a Python.
    """
    for pid in _tree(main, host):
        root = _root(pid, unit)
        seen = host.seen_by(str(pid), root)
        environ = {**unit.environ, **(_environ(pid, host) or {})}
        python = interpreter_of(_arguments(pid, host)[:1], environ, seen, _folder(pid, unit, root))
        # Interpreters that were exchanged while the service runs are gone.
        if python.startswith("/") and _is_there(python, seen):
            return _with(unit, pid, python, root, host)
    return _with(unit, main, unit.python, _root(main, unit), host)


def parse_limits(text: str) -> dict[str, int | None]:
    """Read /proc/PID/limits: the soft ones of LIMITS, None for one that is unlimited."""
    found: dict[str, int | None] = {}
    for line in text.splitlines():
        for name in LIMITS:
            if line.startswith(_NAMES[name]):
                soft = (line[len(_NAMES[name]) :].split() or [""])[0]
                if soft == "unlimited" or (soft.isascii() and soft.isdigit() and len(soft) < 20):
                    found[name.lower()] = None if soft == "unlimited" else int(soft)
    return found


def parse_environ(data: bytes) -> dict[str, str]:
    """Read /proc/PID/environ; the first one of a name counts, as for getenv."""
    found: dict[str, str] = {}
    for entry in data.split(b"\0"):
        name, separator, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if separator and name:
            found.setdefault(name, value)
    return found


def _with(unit: Unit, pid: int, python: str, root: str, host: Host) -> Unit:
    environ = _environ(pid, host)
    allowed = _allowed(pid, host)
    return replace(
        unit,
        pid=pid,
        python=python,
        environ=unit.environ if environ is None else environ,
        # What was started has all its variables, wherever they came from.
        problem=unit.problem if environ is None else None,
        root=root,
        rights=rights_of(pid, host) or unit.rights,
        # What process 1 may use is no restriction of this service.
        affinity=allowed if allowed and allowed != _allowed(1, host) else unit.affinity,
        limits=parse_limits(_text(f"/proc/{pid}/limits", host)) or unit.limits,
    )


def _root(pid: int, unit: Unit) -> str:
    """Return a process's root directory, "" where it is this machine's; as the unit sets it if unseen."""
    path = f"/proc/{pid}/root"
    try:
        own = os.path.samestat(os.stat(path), os.stat("/"))  # noqa: PTH116 through the link
    except OSError:
        return unit.root
    return "" if own else path


def _folder(pid: int, unit: Unit, root: str) -> str:
    """Return the working directory of a process; below another root the kernel tells it otherwise."""
    try:
        return unit.folder if root else os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
    except OSError:
        return unit.folder


def _is_there(path: str, seen: Host) -> bool:
    try:
        return os.path.exists(seen.real(path))  # noqa: PTH110
    except OSError:
        return False


def _allowed(pid: int, host: Host) -> list[int]:
    lines = _text(f"/proc/{pid}/status", host).splitlines()
    named = [line.partition(":")[2] for line in lines if line.startswith("Cpus_allowed_list:")]
    return cpu_list(named[0]) if named else []


def _tree(main: int, host: Host) -> list[int]:
    """Return a process and those below it, nearest first."""
    found = [main]
    for pid in found:
        children = _text(f"/proc/{pid}/task/{pid}/children", host).split()
        found += [int(child) for child in children if child.isdigit() and int(child) not in found]
        if len(found) > _PROCESSES:
            break
    return found[:_PROCESSES]


def _arguments(pid: int, host: Host) -> list[str]:
    return _text(f"/proc/{pid}/cmdline", host).split("\0")


def _environ(pid: int, host: Host) -> dict[str, str] | None:
    """Return the variables that a process was started with, None when this user may not see them."""
    try:
        return parse_environ(host.read(f"/proc/{pid}/environ"))
    except OSError:
        return None


def _text(path: str, host: Host) -> str:
    try:
        return host.read(path).decode("utf-8", "replace")
    except OSError:
        return ""
