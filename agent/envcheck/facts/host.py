"""The machine as a parameter: its files, its environment, its processes. Nothing reads past it."""

# os.path on purpose: these are strings of another root, and the hot path of every capture.
# ruff: noqa: PTH100, PTH114, PTH115, PTH116, PTH118, PTH208

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from envcheck.errors import BadInput
from envcheck.facts.process import Ended, run_bounded

FILE_LIMIT = 4 * 1024 * 1024
ANSWERS = "/.answers/"
_LINKS_FOLLOWED = 40
_CHECK_DEADLINE_S = 5.0
_CHECK = "import sys; sys.stdout.write('python%d' % sys.version_info[0])"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Runner = Callable[..., Ended]


@dataclass(frozen=True)
class Host:
    """One machine: a root directory, the agent's own environment, a way to run processes.

    A `root` other than / is a captured tree or a mounted image: then only files are read,
    links in it lead nowhere outside, and what only the running kernel can tell is not asked.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    run: Runner = run_bounded

    @property
    def live(self) -> bool:
        """Whether this is the running machine itself."""
        return self.root == Path("/")

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

    def _real(self, path: str) -> str:
        return path if self.live else _inside(str(self.root), path)


@dataclass(frozen=True)
class Target:
    """The interpreter that serves the model; "" when there is none to ask (a mounted image).

    `environ` is what the serving process gets, exactly. None: nothing is configured, so the interpreter
    is started isolated (-I) with the agent's own variables.
    """

    python: str = sys.executable
    environ: Mapping[str, str] | None = None

    @property
    def isolated(self) -> bool:
        """Whether the interpreter is started with -I."""
        return self.environ is None

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs the interpreter with `arguments`."""
        return [self.python, *(["-I"] if self.isolated else []), *arguments]

    def variables(self, host: Host) -> dict[str, str]:
        """Return the variables that a process of this target is started with."""
        if self.environ is None:
            return dict(host.environ)
        return {"PATH": _DEFAULT_PATH, **self.environ}


def resolve_target(python: str | None, env_file: str | None, *, host: Host | None = None) -> Target:
    """Find the interpreter and read the variables it serves with.

    `python` is a path or a name on PATH (None: the agent's own interpreter), `env_file` a file of NAME=VALUE
    lines as systemd reads them. Raises BadInput for an interpreter that does not exist, may not be
    executed or is not Python 3, and for a file that is missing or malformed. An interpreter that
    does not answer in time is let through: that is a fact about the device, and the sections tell it.
    """
    host = host or Host()
    environ = read_env_file(env_file) if env_file else None
    if not python or python == sys.executable:
        return Target(sys.executable, environ)
    target = Target(_find(python, host), environ)
    _require_python(target, host)
    return target


def read_env_file(path: str) -> dict[str, str]:
    """Read a file of variables; raises BadInput naming the file and the line."""
    from envcheck.facts.env_file import parse_env_file

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"the env file {path} can't be read: {error.strerror}") from None
    return parse_env_file(data, path)


def _find(python: str, host: Host) -> str:
    hint = "name the interpreter of the application that serves the model: --python /opt/app/venv/bin/python"
    if "/" not in python:
        import shutil

        found = shutil.which(python, path=host.environ.get("PATH", _DEFAULT_PATH))
        if found is None:
            raise BadInput(f"there is no interpreter {python!r} on PATH", hint)
        return os.path.abspath(found)  # a venv's python must not be resolved to its base
    path = os.path.abspath(python)
    if not os.path.lexists(path):
        raise BadInput(f"there is no interpreter {python}", hint)
    if not Path(path).exists():
        raise BadInput(
            f"the interpreter {python} is a link to {os.path.realpath(path)}, which is not there",
            "the virtual environment outlived its Python; make it anew",
        )
    if not Path(path).is_file():
        raise BadInput(f"the interpreter {python} is not a file", hint)
    if not os.access(path, os.X_OK):
        raise BadInput(f"the interpreter {python} may not be executed by this user", hint)
    return path


def _require_python(target: Target, host: Host) -> None:
    command = target.command("-S", "-c", _CHECK)
    ended = host.run(command, environ=target.variables(host), deadline_s=_CHECK_DEADLINE_S)
    if ended.timed_out or ended.stdout.strip().endswith(b"python3"):
        return
    said = ended.problem or ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    raise BadInput(
        f"{target.python} is not a Python 3 interpreter" + (f": {said}" if said else ""),
        "name the interpreter of the application that serves the model",
    )


def _inside(root: str, path: str) -> str:
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
