"""The environment of a systemd service: its interpreter, variables, limits and affinity."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from envcheck.errors import BadInput
from envcheck.facts.host import Host
from envcheck.facts.unit_files import Settings, read_unit
from envcheck.facts.unit_values import cpus, limit, size_mib, split_words, time_share, variables

_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\-]*)?\.service")
_DEADLINE_S = 10.0
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?")
_SCRIPT_BYTES = 16 * 1024
_IN_SCRIPT = re.compile(r"(?<![\w./-])(/[\w./+-]*/(?:python|pypy)[\d.]*t?)(?![\w./-])")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Those that change what a model can do; others follow the size of the memory or concern signals.
LIMITS = ("AS", "DATA", "MEMLOCK", "NOFILE", "STACK")
_HINT = "name the interpreter that serves the model: --python /opt/app/venv/bin/python"


@dataclass(frozen=True)
class Unit:
    """What a service is given. `limits` are soft ones by their name, None for one that is unlimited.

    `pid` is the serving process, 0 when none runs. `affinity` is None where every CPU may be used.
    """

    name: str
    python: str
    environ: Mapping[str, str]
    affinity: list[int] | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)
    cpu_quota: float | None = None
    memory_mib: int | None = None
    pid: int = 0


def find_unit(name: str, host: Host, python: str | None = None) -> Unit:
    """Find a service, by systemd where it can be asked, else from its files.

    `python` names the interpreter where the unit does not. Raises BadInput for a unit that isn't there or is
    no service, whose files can't be read, or in which no Python is to be found.
    """
    full = name if "." in name.rpartition("@")[2] else f"{name}.service"
    if _NAME.fullmatch(full) is None or len(full) > 255:
        raise BadInput(f"{name[:80]!r} is no name of a service", "see: systemctl list-units --type=service")
    settings = _asked(full, host) if host.live else None
    if settings is None:
        settings = read_unit(full, host)
    unit = _configured(full, settings, host)
    pid = int((settings.get("MainPID") or ["0"])[0] or 0) if host.live else 0
    if pid:
        from envcheck.facts.running import observed

        unit = observed(unit, pid, host)
    if not (python or unit.python):
        raise BadInput(
            f"the unit {full} starts no Python that can be seen: {' '.join(_command(settings))[:200]}", _HINT
        )
    return replace(unit, python=python or unit.python)


def interpreter_of(words: list[str], environ: Mapping[str, str], host: Host) -> str:
    """Return the path of the Python that a command line starts, "" when none is to be seen.

    A program named so, a script whose first line names one, or a word further on: behind `nice`, in `sh -c`.
    """
    flat = [part for word in words for part in (word.split() or [word])]
    for word in flat[:64]:
        base = word.rpartition("/")[2]
        if _PYTHON.fullmatch(base) and (found := _on_path(word, environ, host)):
            return found
        if "/" in word and (found := _by_first_line(word, environ, host)):
            return found
    return ""


def _by_first_line(path: str, environ: Mapping[str, str], host: Host) -> str:
    """Return the interpreter that a script names in its first line, or in pip's second one for long paths."""
    try:
        head = host.read(path, _SCRIPT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    if not head.startswith("#!"):
        return ""
    lines = head.splitlines()
    words = lines[0][2:].split()
    if len(lines) > 1 and lines[1].startswith("'''exec'"):
        words = split_words(lines[1].removeprefix("'''exec'"))[:1]
    named = [word for word in words if _PYTHON.fullmatch(word.rpartition("/")[2])]
    # A shell script that starts the service: unless it names several, the interpreter in it is the one.
    named = named or list(dict.fromkeys(_IN_SCRIPT.findall(head)))
    return _on_path(named[0], environ, host) if len(named) == 1 else ""


def _on_path(word: str, environ: Mapping[str, str], host: Host) -> str:
    if "/" in word:
        return word
    folders = environ.get("PATH", _PATH)
    if host.live:
        return shutil.which(word, path=folders) or ""
    for folder in folders.split(":"):
        try:
            host.read(f"{folder}/{word}", 1)
        except OSError:
            continue
        return f"{folder}/{word}"
    return ""


def _asked(name: str, host: Host) -> Settings | None:
    """Ask systemd; None when there is none to ask."""
    wanted = "LoadState,MainPID,ExecStart,Environment,EnvironmentFiles,PassEnvironment,UnsetEnvironment,"
    wanted += "CPUAffinity,CPUQuotaPerSecUSec,MemoryMax," + ",".join(f"Limit{limit}Soft" for limit in LIMITS)
    shown = _systemctl(["show", "--no-pager", f"--property={wanted}", "--", name], host)
    if shown is None or not shown.get("LoadState"):
        return None
    state = shown["LoadState"][0]
    if state == "not-found":
        raise BadInput(f"there is no unit {name}", "see: systemctl list-units --type=service")
    if state != "loaded":
        raise BadInput(f"the unit {name} is not loaded but {state}", f"see: systemctl status {name}")
    shown["ManagerEnvironment"] = _manager_environment(host)
    return shown


def _systemctl(arguments: list[str], host: Host) -> Settings | None:
    program = shutil.which("systemctl", path=host.environ.get("PATH", _PATH))
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


def _manager_environment(host: Host) -> list[str]:
    """Return what systemd itself passes on to every service: PATH, LANG and what an operator imported."""
    shown = _systemctl(["show", "--no-pager", "--property=Environment"], host) or {}
    return shown.get("Environment", [])


def _configured(name: str, settings: Settings, host: Host) -> Unit:
    """Return what the unit sets, whether it runs or not."""
    environ = _environ(settings, host, name)
    words = _command(settings)
    affinity = cpus(" ".join(settings.get("CPUAffinity", [])))
    quota = time_share(_last(settings, "CPUQuotaPerSecUSec") or _last(settings, "CPUQuota"))
    return Unit(
        name=name,
        python=interpreter_of(words, environ, host),
        environ=environ,
        affinity=affinity or None,
        limits=_limits(settings),
        cpu_quota=quota,
        memory_mib=size_mib(_last(settings, "MemoryMax")),
    )


def _environ(settings: Settings, host: Host, name: str) -> dict[str, str]:
    """Put the variables together in systemd's order: the manager's, the unit's own, those of its files."""
    environ = {"PATH": _PATH, **variables(" ".join(settings.get("ManagerEnvironment", [])))}
    environ.update(variables(" ".join(settings.get("Environment", []))))
    files = settings.get("EnvironmentFiles") or settings.get("EnvironmentFile") or []
    for entry in files:
        environ.update(_env_file(entry, host, name))
    for entry in split_words(" ".join(settings.get("UnsetEnvironment", []))):
        key, separator, value = entry.partition("=")
        if not separator or environ.get(key) == value:
            environ.pop(key, None)
    return environ


def _env_file(entry: str, host: Host, name: str) -> dict[str, str]:
    """Read one file of variables, named as by systemctl (PATH (ignore_errors=no)) or in a unit (-PATH)."""
    from envcheck.facts.env_file import parse_env_file

    path, _, note = entry.partition(" (ignore_errors=")
    optional = path.startswith("-") or note.startswith("yes")
    path = path.lstrip("-").strip()
    found: dict[str, str] = {}
    for file in _globbed(path, host):
        try:
            found.update(parse_env_file(host.read(file), file))
        except FileNotFoundError:
            if not optional:
                raise BadInput(
                    f"{file}, the EnvironmentFile of {name}, is not there",
                    "the service can't start without it",
                ) from None
        except OSError as error:
            raise BadInput(
                f"{file}, the EnvironmentFile of {name}, can't be read: {error.strerror}",
                "run envcheck as a user who may read it",
            ) from None
    return found


def _globbed(path: str, host: Host) -> list[str]:
    import fnmatch

    folder, _, pattern = path.rpartition("/")
    if not any(mark in pattern for mark in "*?["):
        return [path]
    try:
        return [f"{folder}/{file}" for file in fnmatch.filter(host.names(folder), pattern)]
    except OSError:
        return []


def _command(settings: Settings) -> list[str]:
    """Return the words of ExecStart=, as systemctl ({ path=... ; argv[]=... ; }) or a unit file has it."""
    started = _started(settings)
    if not started.startswith("{ path="):
        words = split_words(started)
        return [words[0].lstrip("@-:+!|"), *words[1:]] if words else []
    fields = dict(part.partition("=")[::2] for part in started.strip("{} ").split(" ; "))
    return [fields.get("path", ""), *split_words(fields.get("argv[]", ""))[1:]]


def _started(settings: Settings) -> str:
    return (settings.get("ExecStart") or [""])[-1]


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
