"""Whose rights and whose home a service has."""

from __future__ import annotations

import os
from dataclasses import dataclass

from envcheck.facts.host import Host
from envcheck.facts.process import Rights
from envcheck.facts.section import integer
from envcheck.facts.unit_files import Settings

# Another one at each start: its rights on files are those of nobody in particular.
_DYNAMIC = Rights(65534, 65534)


@dataclass(frozen=True)
class Account:
    """The user of a service: what systemd tells it in variables, and its rights where they are known."""

    name: str = ""
    home: str = ""
    shell: str = ""
    rights: Rights | None = None

    def variables(self) -> dict[str, str]:
        """Return the variables that systemd sets for a service with User=."""
        told = {"USER": self.name, "LOGNAME": self.name, "HOME": self.home, "SHELL": self.shell}
        return {name: value for name, value in told.items() if value}


def account_of(settings: Settings, host: Host) -> Account:
    """Return the user that a unit names; a user of the system that is not in /etc/passwd is looked up."""
    name = (settings.get("User") or [""])[-1]
    if (settings.get("DynamicUser") or [""])[-1].lower() in ("yes", "true", "on", "1"):
        return Account(name=name, home="/", rights=_DYNAMIC)
    fields = _entry(name or "root", host)
    uid, gid = integer(fields[2]), integer(fields[3])
    rights = None if uid is None or gid is None else Rights(uid, gid, _groups(fields[0], gid, host))
    if not name:
        # systemd tells such a service no home; Python then takes its user's, which is root.
        alone = host.live and os.geteuid() != 0 and fields[5]
        return Account(home=fields[5] if alone else "", rights=rights)
    return Account(fields[0], fields[5], fields[6], rights)


def rights_of(pid: int, host: Host) -> Rights | None:
    """Return the rights of a running process, None when it may not be seen."""
    try:
        lines = host.read(f"/proc/{pid}/status").decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    told = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    # The effective one of each: real, effective, saved, of the file system.
    numbers = [int(told[name][1]) for name in ("Uid", "Gid") if len(told.get(name, [])) > 1]
    return Rights(numbers[0], numbers[1], [int(one) for one in told.get("Groups", [])]) if numbers else None


def _entry(name: str, host: Host) -> list[str]:
    """Return the seven fields of /etc/passwd for a name or number, empty ones when there is no such user."""
    for fields in _table("/etc/passwd", host):
        if len(fields) >= 7 and name in (fields[0], fields[2]):
            return fields
    if host.live:
        import pwd

        try:
            found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        except (KeyError, OverflowError):
            return [""] * 7
        return [found.pw_name, "", str(found.pw_uid), str(found.pw_gid), "", found.pw_dir, found.pw_shell]
    return [""] * 7


def _groups(name: str, gid: int, host: Host) -> list[int]:
    members = [fields for fields in _table("/etc/group", host) if len(fields) >= 4]
    found = {integer(fields[2]) for fields in members if name in fields[3].split(",")}
    return sorted({gid, *(number for number in found if number is not None)})


def _table(path: str, host: Host) -> list[list[str]]:
    try:
        text = host.read(path).decode("utf-8", "replace")
    except OSError:
        return []
    return [line.split(":") for line in text.splitlines()]
