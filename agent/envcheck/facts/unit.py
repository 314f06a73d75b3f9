"""The environment of a systemd service: its interpreter, variables, limits and affinity."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from envcheck.errors import BadInput
from envcheck.facts.host import UNSEEN, Host
from envcheck.facts.process import Rights
from envcheck.facts.target import RELATIVE
from envcheck.facts.unit_command import PATH, command_of, interpreter_of
from envcheck.facts.unit_environ import Problem, environment
from envcheck.facts.unit_files import Settings, read_unit, read_user_unit
from envcheck.facts.unit_folder import is_relative, working_directory
from envcheck.facts.unit_user import account_of
from envcheck.facts.unit_values import cpus, limit, size_mib, time_share

_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\-]*)?\.service")
_DEADLINE_S = 10.0
# Those that change what a model can do; others follow the size of the memory or concern signals.
LIMITS = ("AS", "DATA", "MEMLOCK", "NOFILE", "STACK")
_ASKED = (
    "LoadState", "MainPID", "ExecStart", "Environment", "EnvironmentFiles", "PassEnvironment",
    "UnsetEnvironment", "CPUAffinity", "CPUQuotaPerSecUSec", "MemoryMax", "RootDirectory", "RootImage",
    "User", "DynamicUser", "WorkingDirectory", *(f"Limit{name}Soft" for name in LIMITS),
)  # fmt: skip
_HINT = "name the interpreter that serves the model: --python /opt/app/venv/bin/python"
_ENGINES = ("docker", "podman")
_CLOSED = "its files lie in a disk image (RootImage=) that can't be looked into from here"


@dataclass(frozen=True)
class Unit:
    """What a service is given. `limits` are soft ones by their name, None for one that is unlimited.

    `pid` is the serving process, 0 when none runs. `affinity` is None where every CPU may be used. `problem`
    says why `environ` is not all of its variables. `root` is where its root directory lies on this machine,
    "" when it has no other, UNSEEN when that can't be looked into; `apart` is how the unit sets it
    (`directory`, `image`). `user` is User=, `dynamic` for one made up at each start, "" for root; `rights`
    what that user has. `of_user` is set for a unit of a user's own manager; `folder` is where it works.
    """

    name: str
    python: str
    environ: Mapping[str, str]
    affinity: list[int] | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)
    cpu_quota: float | None = None
    memory_mib: int | None = None
    pid: int = 0
    problem: Problem | None = None
    root: str = ""
    apart: str = ""
    user: str = ""
    rights: Rights | None = None
    of_user: bool = False
    folder: str = "/"

    @property
    def closed(self) -> str:
        """Why the files that it sees can't be read, "" when they can."""
        return _CLOSED if self.root == UNSEEN else ""

    @property
    def withheld(self) -> Mapping[str, str]:
        """The sections of which something lies where it can't be looked at, each with the reason."""
        return dict.fromkeys(("system", "cuda"), self.closed) if self.closed else {}


def find_unit(name: str, host: Host, python: str | None = None) -> Unit:
    """Find a service, by systemd where it can be asked, else from its files; of the system or of a user.

    `python` names the interpreter where the unit does not. Raises BadInput for a unit that isn't there or is
    no service, whose files can't be read, or in which no Python is to be found.
    """
    full = name if "." in name.rpartition("@")[2] else f"{name}.service"
    if _NAME.fullmatch(full) is None or len(full) > 255:
        raise BadInput(f"{name[:80]!r} is no name of a service", "see: systemctl list-units --type=service")
    settings = _settings(full, host)
    unit = _configured(full, settings, host)
    pid = int((settings.get("MainPID") or ["0"])[0] or 0) if host.live else 0
    if pid:
        from envcheck.facts.running import observed

        unit = observed(unit, pid, host)
    words = command_of(settings, unit.environ)
    if unit.closed and not (python or unit.python):
        return replace(unit, python=(words or [""])[0])
    if not (python or unit.python):
        raise _no_python(full, words)
    return replace(unit, python=python or unit.python)


def _no_python(name: str, words: list[str]) -> BadInput:
    program = (words or [""])[0].rpartition("/")[2]
    hint = "name the container that it runs: --container NAME" if program in _ENGINES else _HINT
    return BadInput(f"the unit {name} starts no Python that can be seen: {' '.join(words)[:200]}", hint)


def _settings(name: str, host: Host) -> Settings:
    """Ask the system's manager, then the user's own, then look for files; raises BadInput."""
    system = _asked(name, host) if host.live else None
    if system is None:
        # Nobody to ask: an image, a container, a machine without systemd.
        return read_unit(name, host)
    if system:
        return system
    found = _asked(name, host, "--user") or read_user_unit(name, host)
    if found:
        return {**found, "Manager": ["user"]}
    raise BadInput(
        f"there is no unit {name}, of the system or of a user",
        "see: systemctl list-units --type=service, and the same with --user",
    )


def _asked(name: str, host: Host, *scope: str) -> Settings | None:
    """Ask systemd; None when there is none to ask, nothing when it knows of no such unit."""
    ask = [*scope, "show", "--no-pager"]
    shown = _systemctl([*ask, f"--property={','.join(_ASKED)}", "--", name], host)
    if shown is None or not shown.get("LoadState"):
        return None
    state = shown["LoadState"][0]
    if state == "not-found":
        return {}
    if state != "loaded":
        raise BadInput(f"the unit {name} is not loaded but {state}", f"see: systemctl status {name}")
    # What the manager itself passes on to every service: PATH, LANG and what an operator imported.
    own = _systemctl([*ask, "--property=Environment"], host) or {}
    shown["ManagerEnvironment"] = own.get("Environment", [])
    return shown


def _systemctl(arguments: list[str], host: Host) -> Settings | None:
    program = shutil.which("systemctl", path=host.environ.get("PATH", PATH))
    if program is None:
        return None
    ended = host.run([program, *arguments], environ=dict(host.environ), deadline_s=_DEADLINE_S)
    if ended.returncode != 0:
        return None
    found: Settings = {}
    for line in ended.stdout.decode("utf-8", "replace").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            found.setdefault(key, []).append(value)
    return found


def _configured(name: str, settings: Settings, host: Host) -> Unit:
    """Return what the unit sets, whether it runs or not."""
    account = account_of(settings, host)
    environ, problem = environment(settings, account, host)
    root, apart = _root(settings, host)
    seen = host.seen_by(host.process, root)
    folder, trouble = working_directory(_last(settings, "WorkingDirectory"), settings, account, seen)
    if any(is_relative(environ.get(name, "")) for name in RELATIVE):
        problem = problem or trouble
    quota = time_share(_last(settings, "CPUQuotaPerSecUSec") or _last(settings, "CPUQuota"))
    dynamic = _last(settings, "DynamicUser").lower() in ("yes", "true", "on", "1")
    return Unit(
        name=name,
        python=interpreter_of(command_of(settings, environ), environ, seen, folder),
        environ=environ,
        affinity=cpus(" ".join(settings.get("CPUAffinity", []))) or None,
        limits=_limits(settings),
        cpu_quota=quota,
        memory_mib=size_mib(_last(settings, "MemoryMax")),
        problem=problem,
        root=root,
        apart=apart,
        user="dynamic" if dynamic else _last(settings, "User"),
        rights=account.rights,
        of_user=bool(settings.get("Manager")),
        folder=folder,
    )


def _root(settings: Settings, host: Host) -> tuple[str, str]:
    """Return where the service's root directory lies on this machine, and how it is set."""
    if _last(settings, "RootImage"):
        return UNSEEN, "image"
    directory = _last(settings, "RootDirectory").lstrip("-")
    return (host.real(directory), "directory") if directory.strip("/") else ("", "")


def _limits(settings: Settings) -> dict[str, int | None]:
    found = {}
    for name in LIMITS:
        text = _last(settings, f"Limit{name}Soft") or _last(settings, f"Limit{name}").partition(":")[0]
        if text:
            found[name.lower()] = limit(text)
    return found


def _last(settings: Settings, key: str) -> str:
    values = settings.get(key) or [""]
    return values[-1].strip()
