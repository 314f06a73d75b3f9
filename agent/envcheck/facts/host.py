"""The machine as a parameter: its files, its environment, its processes. Nothing reads past it."""

# os.path on purpose: these are strings of another root, and the hot path of every capture.
# ruff: noqa: PTH100, PTH110, PTH113, PTH114, PTH115, PTH116, PTH118, PTH123, PTH208

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from envcheck.errors import BadInput
from envcheck.facts.frozen import Frozen
from envcheck.facts.process import Begun, Ended, Rights, begin

# Nothing that can wait is imported before the interpreter is asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from envcheck.facts.container import Container
    from envcheck.facts.unit import Unit

FILE_LIMIT = 4 * 1024 * 1024
ANSWERS = "/.answers/"
_LINKS_FOLLOWED = 40
# What belongs to the machine, whatever root a process on it has.
_OF_MACHINE = (
    "/proc/",
    "/sys/",
    "/etc/nv_tegra_release",
    "/etc/nvpmodel.conf",
    "/var/lib/nvpmodel/",
    "/run/systemd/timesync/",
)
# In the place of a process or of its root directory: one that can't be looked at from here.
UNSEEN = "unseen"
_CHECK_DEADLINE_S = 5.0
# Not through sys.stdout: a variable may give that another encoding.
_CHECK = "import os, sys; os.write(1, b'python%d' % sys.version_info[0])"
_FATAL = "Fatal Python error: "
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Host(Frozen):
    """One machine: a root directory, the agent's own environment, a way to start processes.

    A `root` other than / is a captured tree or a mounted image: then only files are read,
    links in it lead nowhere outside, and what only the running kernel can tell is not asked.
    `process` is whose /proc/self is read: the serving process's, where one runs. `files` is the root
    directory of that process where it has another than this machine's (a container). Either may be UNSEEN:
    then reading there is not permitted. No process runs longer than `until`, in monotonic seconds.
    """

    __slots__ = ("base", "begin", "environ", "files", "process", "until")
    base: str
    environ: Mapping[str, str]
    begin: Callable[..., Begun]
    process: str
    files: str
    until: float

    def __init__(
        self,
        root: Path | str = "/",
        environ: Mapping[str, str] = os.environ,
        begin: Callable[..., Begun] = begin,
        process: str = "self",
        files: str = "",
        until: float = float("inf"),
    ) -> None:
        self._set(base=str(root), environ=environ, begin=begin, process=process, files=files, until=until)

    @property
    def root(self) -> Path:
        """The root directory."""
        from pathlib import Path

        return Path(self.base)

    def seen_by(self, process: str, files: str) -> Host:
        """Return this machine as a process sees it (its id, `self` or UNSEEN), whose root is `files`."""
        return Host(self.base, self.environ, self.begin, process, files, self.until)

    @property
    def tree(self) -> str:
        """The root directory that files are read below."""
        return self.files or self.base

    @property
    def live(self) -> bool:
        """Whether this is the running machine itself."""
        return self.base == "/"

    def run(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        deadline_s: float,
        stdin: bytes | None = None,
        rights: Rights | None = None,
    ) -> Ended:
        """Run a process to its end, bounded: see `process.py`."""
        begun = self.begin(command, environ=environ, stdin=stdin, rights=rights)
        return begun.end(min(deadline_s, max(0.0, self.until - time.monotonic())))

    def read(self, path: str, limit: int = FILE_LIMIT, at: int = 0) -> bytes:
        """Return `limit` bytes of a file from `at` on. Raises OSError; a named pipe does not block."""
        handle = os.open(self._real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if at:
                os.lseek(handle, at, os.SEEK_SET)
            chunks: list[bytes] = []
            while limit > 0 and (chunk := os.read(handle, min(limit, 1 << 20))):
                chunks.append(chunk)
                limit -= len(chunk)
            return b"".join(chunks)
        finally:
            os.close(handle)

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory. Raises OSError."""
        return sorted(os.listdir(self._real(path)))

    def link(self, path: str) -> str:
        """Return what a symbolic link holds. Raises OSError."""
        parent, _, name = path.rpartition("/")
        return os.readlink(os.path.join(self._real(parent or "/"), name))

    def answer(self, name: str, ask: Callable[[], bytes]) -> bytes:
        """Return what only the running machine can tell, b"" when there is no answer.

        A captured tree keeps such answers as files below /.answers.
        """
        if self.live:
            return ask()
        try:
            return self.read(f"{ANSWERS}{name}")
        except OSError:
            return b""

    def may_open(self, path: str) -> bool:
        """Whether this process may read and write the file. A captured tree answers for its own files."""
        return os.access(self._real(path), os.R_OK | os.W_OK, effective_ids=True)

    def is_device(self, path: str) -> bool:
        """Whether a device node is there; in a captured tree any file stands for one."""
        try:
            mode = os.stat(self._real(path)).st_mode
        except OSError:
            return False
        return stat.S_ISCHR(mode) or (not self.live and stat.S_ISREG(mode))

    def real(self, path: str) -> str:
        """Return where a path of this host lies on the machine that reads it."""
        return self._real(path)

    def _real(self, path: str) -> str:
        if self.process != "self" and path.startswith("/proc/self/"):
            path = f"/proc/{_seen(self.process, path)}/{path[len('/proc/self/') :]}"
        if self.files and not path.startswith(_OF_MACHINE):
            return inside(_seen(self.files, path), path)
        return path if self.live else inside(self.base, path)


def _seen(place: str, path: str) -> str:
    if place == UNSEEN:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return place


class Target(Frozen):
    """The interpreter that serves the model; "" when there is none to ask (a mounted image).

    `environ` is what the serving process gets, exactly. None: nothing is configured, so the interpreter
    is started isolated (-I) with the agent's own variables. `unit` is the service that starts it, `container`
    where it runs. `unasked` says why it can't be run: then only its files are read. `model` is
    the path of the deployed model file, if it is known.
    """

    __slots__ = ("container", "environ", "model", "python", "unasked", "unit")
    python: str
    environ: Mapping[str, str] | None
    unit: Unit | None
    container: Container | None
    unasked: str
    model: str

    def __init__(
        self,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
        unit: Unit | None = None,
        container: Container | None = None,
        unasked: str = "",
        model: str = "",
    ) -> None:
        self._set(
            python=python, environ=environ, unit=unit, container=container, unasked=unasked, model=model
        )

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
            return dict(host.environ)
        return {"PATH": _DEFAULT_PATH, **self.environ}

    def starting(self, host: Host) -> dict[str, str]:
        """Return the variables that `command` is started with: a container engine needs the agent's own."""
        return dict(host.environ) if self.container else self.variables(host)


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
    host = host or Host()
    if unit or container or not host.live:
        from envcheck.facts.targets import resolve_special

        return resolve_special(python, env_file, unit, container, host, on_disk=on_disk)
    environ = read_env_file(env_file) if env_file else None
    if not python or python == sys.executable:
        return Target(sys.executable, environ)
    return checked(Target(find_python(python, host), environ), host, on_disk=on_disk)


def read_env_file(path: str) -> dict[str, str]:
    """Read a file of variables; raises BadInput naming the file and the line."""
    from envcheck.facts.env_file import parse_env_file

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise BadInput(f"the env file {path} can't be read: {error.strerror}") from None
    return parse_env_file(data, path)


def find_python(python: str, host: Host) -> str:
    """Return the path of a named interpreter; raises BadInput."""
    hint = "name the interpreter of the application that serves the model: --python /opt/app/venv/bin/python"
    if "/" not in python:
        import shutil

        found = shutil.which(python, path=host.environ.get("PATH", _DEFAULT_PATH))
        if found is None:
            raise BadInput(f"there is no interpreter {python!r} on PATH", hint)
        return os.path.abspath(found)  # a venv's python must not be resolved to its base
    path = os.path.abspath(python)
    try:
        os.lstat(path)
    except PermissionError:
        raise BadInput(
            f"the interpreter {python} can't be looked at: this user may not enter its folder",
            "run envcheck as the user who serves the model, or as root",
        ) from None
    except OSError:
        raise BadInput(f"there is no interpreter {python}", hint) from None
    if not os.path.exists(path):
        raise BadInput(
            f"the interpreter {python} is a link to {os.path.realpath(path)}, which is not there",
            "the virtual environment outlived its Python; make it anew",
        )
    if not os.path.isfile(path):
        raise BadInput(f"the interpreter {python} is not a file", hint)
    if not os.access(path, os.X_OK):
        raise BadInput(f"the interpreter {python} may not be executed by this user", hint)
    return path


def checked(target: Target, host: Host, *, on_disk: bool = False) -> Target:
    """Return the target if it is Python 3; raises BadInput. `on_disk` lets through what can't run here."""
    command = target.command("-S", "-c", _CHECK)
    environ, rights = target.starting(host), target.rights
    # The sections need some of the time, to say so.
    limit = min(_CHECK_DEADLINE_S, (host.until - time.monotonic()) / 2)
    ended = host.run(command, environ=environ, deadline_s=limit, rights=rights)
    if ended.timed_out or ended.stdout.strip().endswith(b"python3"):
        return target
    if ended.problem:
        from envcheck.facts.tree import why_not_run

        if reason := why_not_run(target.python, host):
            if on_disk:
                return target.changed(unasked=reason)
            raise BadInput(
                f"{target.python} can't be run here: {reason}", "name an interpreter of this machine"
            )
        if target.rights:
            raise BadInput(
                f"{target.python} can't be started with the rights of the service's user: {ended.problem}",
                "may that user enter its folder and run it?",
            )
    told = ended.stderr.decode("utf-8", "replace")
    if _FATAL in told:
        why = told.partition(_FATAL)[2].partition("\n")[0]
        raise BadInput(
            f"{target.python} does not start: {why[:200]}",
            "see what it is started with: PYTHONHOME and other variables, and whether its library is there",
        )
    said = ended.problem or told.strip().rpartition("\n")[2][:200]
    raise BadInput(
        f"{target.python} is not a Python 3 interpreter" + (f": {said}" if said else ""),
        "name the interpreter of the application that serves the model",
    )


def inside(root: str, path: str) -> str:
    """Resolve `path` below `root` as if root were /, links included; raises OSError for a loop."""
    todo = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        here = os.path.join(root, *done)
        if not os.path.islink(here):
            continue
        links += 1
        if links > _LINKS_FOLLOWED:
            raise OSError(40, os.strerror(40), path)
        leads = os.readlink(here)
        done = [] if leads.startswith("/") else done[:-1]
        todo.extend(leads.split("/")[::-1])
    return os.path.join(root, *done)
