"""Run one process in a session of its own, bounded in time and output, and kill all of it at the deadline."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

OUTPUT_LIMIT = 64 * 1024 * 1024
_ERRORS_KEPT = 64 * 1024

# What runs now. When this process ends early (Ctrl-C, a deadline), none of it is left behind.
_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Ended:
    """How a process ended. `problem` says why it could not be started; then there is no `returncode`.

    `returncode` is negative for a signal. `flooded` is set when it wrote more than it may and was killed.
    """

    returncode: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False
    flooded: bool = False
    problem: str = ""


def run_bounded(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    deadline_s: float,
    limit: int = OUTPUT_LIMIT,
    cwd: str = "/",
    stdin: bytes | None = None,
) -> Ended:
    """Run `command`, wait for its end or `deadline_s` seconds, then kill its whole session.

    Standard input holds `stdin`, nothing by default. Output beyond `limit` bytes ends it. Never waits longer
    than the deadline, not even for a grandchild that holds the pipes open.
    """
    try:
        with _held(stdin) as source:
            process = subprocess.Popen(
                list(command),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        return Ended(None, problem=getattr(error, "strerror", None) or str(error))
    _running.add(process)
    try:
        return _follow(process, time.monotonic() + deadline_s, limit)
    finally:
        _kill(process)
        _running.discard(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def _held(data: bytes | None) -> Iterator[IO[bytes] | int]:
    """Give a file without a name that holds `data`: unlike a pipe it needs nobody to write to it."""
    if data is None:
        yield subprocess.DEVNULL
        return
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def _follow(process: subprocess.Popen[bytes], deadline: float, limit: int) -> Ended:
    kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    flooded = False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "stdout")  # type: ignore[arg-type]
        selector.register(process.stderr, selectors.EVENT_READ, "stderr")  # type: ignore[arg-type]
        while selector.get_map() and not flooded:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                data = os.read(key.fd, 1 << 18)
                if not data:
                    selector.unregister(key.fileobj)
                kept[key.data] += data
            del kept["stderr"][:-_ERRORS_KEPT]
            flooded = len(kept["stdout"]) > limit
        open_pipes = bool(selector.get_map())
    returncode = None if flooded else _wait(process, 0.0 if open_pipes else deadline - time.monotonic())
    return Ended(
        returncode,
        bytes(kept["stdout"]),
        bytes(kept["stderr"]),
        timed_out=returncode is None and not flooded,
        flooded=flooded,
    )


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    try:
        return process.wait(max(0.0, timeout_s))
    except subprocess.TimeoutExpired:
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the session; reap the process itself unless it can't be killed yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _wait(process, 1.0)


@atexit.register
def _kill_running() -> None:
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
