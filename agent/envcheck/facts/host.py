"""The machine as a parameter: its files, its environment, its processes. Nothing reads past it."""

# os.path on purpose: these are strings of another root, and the hot path of every capture.
# ruff: noqa: PTH114, PTH115, PTH116, PTH118, PTH208

from __future__ import annotations

import errno
import os
import stat
import time

from envcheck.facts.frozen import Frozen
from envcheck.facts.process import Begun, Ended, Rights, begin
from envcheck.facts.target import Target, resolve_target

# Nothing that can wait is imported before the interpreter is asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

# What serves the model is part of how others see a machine.
__all__ = ["ANSWERS", "FILE_LIMIT", "UNSEEN", "Host", "Rights", "Target", "inside", "resolve_target"]

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

    def variables(self) -> dict[str, str]:
        """Return the variables that a process inherits here; of a tree those that were captured with it."""
        if self.live:
            return dict(self.environ)
        import msgspec

        try:
            return msgspec.json.decode(self.answer("variables.json", lambda: b""), type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}

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
