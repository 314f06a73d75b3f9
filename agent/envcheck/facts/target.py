"""The interpreter that serves the model, and whatever starts it: a unit, a container, nothing."""

# os.path on purpose: these are strings of another root.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import sys

from envcheck.facts.frozen import Frozen

# Nothing that can wait is imported before the interpreter is asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envcheck.facts.container import Container
    from envcheck.facts.host import Host
    from envcheck.facts.process import Rights
    from envcheck.facts.unit import Unit

# Variables with lists of folders that begin at the working directory where they are relative.
RELATIVE = frozenset({"PYTHONPATH", "LD_LIBRARY_PATH"})
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Target(Frozen):
    """The interpreter that serves the model; "" when there is none to ask (a mounted image).

    `environ` is what the serving process gets, exactly. None: nothing is configured, so the interpreter
    is started isolated (-I) with the agent's own variables. `unit` is the service that starts it, `container`
    where it runs. `unasked` says why it can't be run: then only its files are read. `model` is
    the path of the deployed model file, if it is known. `silent` is set when its files did not answer
    in time: then they are left alone.
    """

    __slots__ = ("container", "environ", "model", "python", "silent", "unasked", "unit")
    python: str
    environ: Mapping[str, str] | None
    unit: Unit | None
    container: Container | None
    unasked: str
    model: str
    silent: bool

    def __init__(
        self,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
        unit: Unit | None = None,
        container: Container | None = None,
        unasked: str = "",
        model: str = "",
        silent: bool = False,
    ) -> None:
        self._set(
            python=python, environ=environ, unit=unit, container=container, unasked=unasked, model=model,
            silent=silent,
        )  # fmt: skip

    def changed(self, **fields: Any) -> Target:
        """Return a target with other values in some fields."""
        return Target(**{**{name: getattr(self, name) for name in self.__slots__}, **fields})

    @property
    def isolated(self) -> bool:
        """Whether the interpreter is started with -I."""
        return self.environ is None

    @property
    def affinity(self) -> list[int]:
        """The CPUs that the serving unit is bound to; none: all of them may be used."""
        return (self.unit.affinity if self.unit else None) or []

    @property
    def limits(self) -> Mapping[str, int | None]:
        """The soft limits that the serving unit sets by name, None for one that is unlimited."""
        return self.unit.limits if self.unit else {}

    def seen_from(self, host: Host) -> Host:
        """Return the machine as the serving process sees it: its control group, its root directory."""
        if self.container:
            return self.container.host(host)
        if self.unit:
            process = str(self.unit.pid) if self.unit.pid and host.live else host.process
            return host.seen_by(process, self.unit.root)
        return host

    @property
    def withheld(self) -> Mapping[str, str]:
        """The sections of which something lies where it can't be looked at, each with the reason."""
        part = self.container or self.unit
        return part.withheld if part else {}

    @property
    def rights(self) -> Rights | None:
        """The rights that the interpreter is asked with, None for this process's own.

        Root asks with those of the service's user: what it may not read is not imported, and nothing that
        another user may write is run by root.
        """
        rights = self.unit.rights if self.unit and os.geteuid() == 0 else None
        return rights if rights and rights.uid else None

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs the interpreter with `arguments`."""
        inside = self.container.command() if self.container else []
        return [*inside, self.python, *(["-I"] if self.isolated else []), *arguments]

    def variables(self, host: Host) -> dict[str, str]:
        """Return the variables that a process of this target has."""
        if self.environ is None:
            return host.variables()
        return {"PATH": DEFAULT_PATH, **self.environ}

    def starting(self, host: Host) -> dict[str, str]:
        """Return the variables that `command` is started with: a container engine needs the agent's own.

        It is started elsewhere than the service, so what is relative to the service's working directory is
        made absolute.
        """
        if self.container:
            return dict(host.environ)
        found = self.variables(host)
        if self.unit:
            for name in RELATIVE.intersection(found):
                found[name] = absolute_folders(found[name], self.unit.folder)
        return found


def absolute_folders(text: str, folder: str) -> str:
    """Return a list of folders as it is meant in a working directory, which an empty one stands for."""
    return ":".join(os.path.normpath(os.path.join(folder, part)) for part in text.split(":")) if text else ""


def resolve_target(
    python: str | None,
    env_file: str | None,
    *,
    unit: str | None = None,
    container: str | None = None,
    host: Host | None = None,
    on_disk: bool = False,
) -> Target:
    """Find the interpreter and read the variables it serves with.

    `python` is a path or a name on PATH (None: the agent's own interpreter), `env_file` a file of NAME=VALUE
    lines as systemd reads them. A systemd `unit` has both, a `container` its own search path and variables.
    Raises BadInput for an interpreter that does not exist, may not be executed or is not Python 3,
    for a file that is missing or malformed, for a unit or container that isn't there. An interpreter that
    does not answer in time is let through: that is a fact about the device, and the sections tell it.
    `on_disk` lets one through that is built for another machine: its files can be read all the same.
    """
    from envcheck.facts.finding import checked, find_python, read_env_file
    from envcheck.facts.host import Host

    host = host or Host()
    if unit or container or not host.live:
        from envcheck.facts.targets import resolve_special

        return resolve_special(python, env_file, unit, container, host, on_disk=on_disk)
    environ = read_env_file(env_file) if env_file else None
    if not python or python == sys.executable:
        return Target(sys.executable, environ)
    return checked(Target(find_python(python, host), environ), host, on_disk=on_disk)
