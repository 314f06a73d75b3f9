"""Run one process in a session of its own, bounded in time and output, and kill all of it at the deadline."""

# No `contextlib`, no `subprocess` at once: this is imported before the interpreter is asked.
# ruff: noqa: SIM105

from __future__ import annotations

import atexit
import os
import select
import time

from envcheck.facts.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO, Any

OUTPUT_LIMIT = 64 * 1024 * 1024
_ERRORS_KEPT = 64 * 1024
_CHUNK = 1 << 18
_KILL, _PIPE, _FILE_SIZE = 9, 13, 25  # signals: importing `signal` takes four milliseconds
_LONGEST_NAP_S = 0.05
# How long silence lasts before a look whether the process is still there.
_SILENCE_S = 0.1

# What runs now. When this process ends early (Ctrl-C, a deadline), none of it is left behind.
_running: set[Begun] = set()


class Ended(Frozen):
    """How a process ended. `problem` says why it could not be started; then there is no `returncode`.

    `returncode` is negative for a signal. `flooded` is set when it wrote more than it may and was killed.
    """

    __slots__ = ("flooded", "problem", "returncode", "stderr", "stdout", "timed_out")
    returncode: int | None
    stdout: bytes
    stderr: bytes
    timed_out: bool
    flooded: bool
    problem: str

    def __init__(
        self,
        returncode: int | None,
        stdout: bytes = b"",
        stderr: bytes = b"",
        timed_out: bool = False,
        flooded: bool = False,
        problem: str = "",
    ) -> None:
        self._set(
            returncode=returncode,
            stdout=stdout,
            stderr=stderr,
            timed_out=timed_out,
            flooded=flooded,
            problem=problem,
        )


class Rights(Frozen):
    """The user, group and further groups that a process is to have, by number."""

    __slots__ = ("gid", "groups", "uid")
    uid: int
    gid: int
    groups: tuple[int, ...]

    def __init__(self, uid: int, gid: int, groups: Sequence[int] = ()) -> None:
        self._set(uid=uid, gid=gid, groups=tuple(groups))


class Begun:
    """A process on its way, or the `problem` that it could not be started for. `end` must be called, once."""

    def __init__(self, pid: int, stdout: int, stderr: int, problem: str = "") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._stdout, self._stderr, self._problem = stdout, stderr, problem
        if not problem:
            _running.add(self)

    def end(self, deadline_s: float, limit: int = OUTPUT_LIMIT) -> Ended:
        """Wait for its end or `deadline_s` seconds, then kill its whole session.

        Output beyond `limit` bytes ends it. Never waits longer than the deadline, and not for a grandchild
        that holds the pipes open when the process itself is gone.
        """
        if self._problem:
            return Ended(None, problem=self._problem)
        try:
            return self._follow(time.monotonic() + deadline_s, limit)
        finally:
            self.kill()
            self._wait(time.monotonic() + 1.0)
            _running.discard(self)
            os.close(self._stdout)
            os.close(self._stderr)

    def kill(self) -> None:
        """Kill whatever is left of its session."""
        try:
            os.killpg(self.pid, _KILL)
        except (ProcessLookupError, PermissionError):
            pass

    def _follow(self, deadline: float, limit: int) -> Ended:
        kept = {self._stdout: bytearray(), self._stderr: bytearray()}
        left = set(kept)
        poll = select.poll()
        for pipe in kept:
            poll.register(pipe, select.POLLIN)
        while left and len(kept[self._stdout]) <= limit:
            ready = poll.poll(max(0.0, min(deadline - time.monotonic(), _SILENCE_S)) * 1000)
            if not ready and (self._wait(0.0) is not None or time.monotonic() >= deadline):
                break
            for pipe, _ in ready:
                data = os.read(pipe, _CHUNK)
                if not data:
                    poll.unregister(pipe)
                    left.discard(pipe)
                kept[pipe] += data
            del kept[self._stderr][:-_ERRORS_KEPT]
        flooded = len(kept[self._stdout]) > limit
        returncode = None if flooded else self._wait(0.0 if left else deadline)
        return Ended(
            returncode,
            bytes(kept[self._stdout]),
            bytes(kept[self._stderr]),
            timed_out=returncode is None and not flooded,
            flooded=flooded,
        )

    def _wait(self, deadline: float) -> int | None:
        """Reap the process when it ends before `deadline`; its output may have ended before."""
        nap = 0.0002
        while self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody lets the kernel reap; how it ended is lost.
                self.returncode = 0
                break
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif (left := deadline - time.monotonic()) <= 0:
                break
            else:
                nap = min(nap * 2, left, _LONGEST_NAP_S)
                time.sleep(nap)
        return self.returncode


def begin(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    stdin: bytes | None = None,
    anywhere: bool = False,
    rights: Rights | None = None,
) -> Begun:
    """Start `command` in the root directory; standard input holds `stdin`, nothing by default.

    `anywhere` says that it does not matter to the command where it runs: then it starts sooner. `rights`
    are others than this process's own, which only root can give.
    """
    out, err = os.pipe(), os.pipe()
    try:
        if anywhere and stdin is None and rights is None:
            pid = _spawned(command, dict(environ), out[1], err[1])
        else:
            pid = _popen(command, dict(environ), out[1], err[1], stdin, rights)
        return Begun(pid, out[0], err[0])
    except (OSError, ValueError) as error:
        os.close(out[0])
        os.close(err[0])
        return Begun(0, -1, -1, getattr(error, "strerror", None) or str(error) or "for an unknown reason")
    finally:
        os.close(out[1])
        os.close(err[1])


def run_bounded(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    deadline_s: float,
    limit: int = OUTPUT_LIMIT,
    stdin: bytes | None = None,
    rights: Rights | None = None,
) -> Ended:
    """Run `command`, wait for its end or `deadline_s` seconds; see `begin` and `Begun.end`."""
    return begin(command, environ=environ, stdin=stdin, rights=rights).end(deadline_s, limit)


def _spawned(command: Sequence[str], environ: dict[str, str], out: int, err: int) -> int:
    """Start with the agent's current directory: `subprocess`, which could change it, takes ms to import."""
    try:
        inherited = _inherited()
    except OSError:  # a system without /proc
        return _popen(command, environ, out, err)
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, err, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inherited),
    ]
    defaults = (_PIPE, _FILE_SIZE)
    try:
        return os.posix_spawn(
            command[0], list(command), environ, file_actions=actions, setsid=True, setsigdef=defaults
        )
    except NotImplementedError:
        return _popen(command, environ, out, err)


def _inherited() -> list[int]:
    """Return what a new program would inherit beside the standard streams."""
    found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 the hot path
    return [number for number in found if number > 2 and _is_open(number) and os.get_inheritable(number)]


def _is_open(descriptor: int) -> bool:
    # The listing itself had one.
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _popen(
    command: Sequence[str],
    environ: dict[str, str],
    out: int,
    err: int,
    stdin: bytes | None = None,
    rights: Rights | None = None,
) -> int:
    import subprocess

    taken: dict[str, Any] = {}
    if rights is not None:
        taken = {"user": rights.uid, "group": rights.gid, "extra_groups": list(rights.groups)}
    source = subprocess.DEVNULL if stdin is None else _held(stdin)
    try:
        process = subprocess.Popen(
            list(command), stdin=source, stdout=out, stderr=err, env=environ, cwd="/",
            start_new_session=True, **taken,
        )  # fmt: skip
    finally:
        if not isinstance(source, int):
            source.close()
    # It is waited for here, by its id: the object would complain that nobody waited.
    process.returncode = 0
    return int(process.pid)


def _held(data: bytes) -> IO[bytes]:
    """Return a file without a name that holds `data`: unlike a pipe it needs nobody to write to it.

    In memory where the system can: a disk may be full or read-only.
    """
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("stdin"), "w+b")
    else:
        import tempfile

        file = tempfile.TemporaryFile()  # noqa: SIM115 the caller closes it
    file.write(data)
    file.seek(0)
    return file


@atexit.register
def _kill_running() -> None:
    for process in list(_running):
        process.kill()
