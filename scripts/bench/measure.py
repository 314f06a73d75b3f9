"""Run one command and measure it: wall clock, CPU and, in a run apart, memory. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SAMPLE_S = 0.001
_SHOWN = 300
_MOMENT_S = 0.3
_IDLE_SHARE = 0.9


class Failed(Exception):
    """A command that did not end well: it is told, and measured no further."""


@dataclass(frozen=True)
class Run:
    """One run. CPU is user and system time of the process and of every descendant that was waited for."""

    wall_s: float
    cpu_s: float


@dataclass
class Measured:
    """The runs of one command. Memory in bytes, see `peak_memory`."""

    runs: list[Run] = field(default_factory=list)
    together: int = 0
    largest: int = 0

    def summary(self) -> dict[str, float | int]:
        """Return medians and minima in milliseconds, memory in MiB."""
        walls, cpus = [run.wall_s for run in self.runs], [run.cpu_s for run in self.runs]
        return {
            "runs": len(self.runs),
            "wall_ms": round(statistics.median(walls) * 1000, 1),
            "wall_min_ms": round(min(walls) * 1000, 1),
            "cpu_ms": round(statistics.median(cpus) * 1000, 1),
            "cpu_min_ms": round(min(cpus) * 1000, 1),
            "peak_mib": round(self.together / 2**20, 1),
            "peak_largest_mib": round(self.largest / 2**20, 1),
        }


def run_once(command: Sequence[str], environ: Mapping[str, str], deadline_s: float) -> Run:
    """Run `command` to its end, output discarded; raises Failed."""
    begun = time.perf_counter()
    process = _start(command, environ)
    clock = threading.Timer(deadline_s, _kill, [process])
    clock.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
    except BaseException:
        _kill(process)
        raise
    finally:
        clock.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"it ended with {process.returncode} after {wall:.1f} s")
    return Run(wall, usage.ru_utime + usage.ru_stime)


def peak_memory(command: Sequence[str], environ: Mapping[str, str], deadline_s: float) -> tuple[int, int]:
    """Return two peaks in bytes: of all processes together, of the largest.

    Resident set sizes are summed over the command and its descendants, every millisecond: pages that they
    share count as often as they are shared, so the sum is an upper bound. The largest process's own peak
    is what the kernel noted. `ru_maxrss` is of no use here: a process inherits it from the one that
    started it.
    """
    deadline = time.monotonic() + deadline_s
    process = _start(command, environ)
    together = largest = 0
    try:
        while process.poll() is None and time.monotonic() < deadline:
            family = _family(process.pid)
            together = max(together, sum(_resident(family)))
            largest = max(largest, *map(_peak, family))
            time.sleep(_SAMPLE_S)
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait()
    return together, largest


def await_quiet(patience_s: float) -> None:
    """Wait until the machine's CPUs have been idle for a moment, at most `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        before = _cpu_ticks()
        time.sleep(_MOMENT_S)
        idle, all_of_it = (after - first for after, first in zip(_cpu_ticks(), before, strict=True))
        if idle >= _IDLE_SHARE * all_of_it:
            return


def _cpu_ticks() -> tuple[int, int]:
    """Return the idle and all ticks of all CPUs since the start."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def output_of(command: Sequence[str], environ: Mapping[str, str], deadline_s: float) -> bytes:
    """Return what `command` prints; raises Failed with its last words."""
    try:
        done = subprocess.run(command, env=environ, capture_output=True, timeout=deadline_s, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"it took more than {deadline_s:.0f} s") from None
    except OSError as error:
        raise Failed(f"it can't be started: {error.strerror}") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Failed(f"it ended with {done.returncode}: {last[:_SHOWN]}")
    return done.stdout


def _start(command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, env=dict(environ), stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    """Return the process and its descendants, threads' children included."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _peak(pid: int) -> int:
    """Return the most that was ever resident of one process, 0 once it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _resident(pids: Sequence[int]) -> list[int]:
    """Return the resident bytes of each; what a child has of its parent before it calls exec counts once."""
    found = {0: ""}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/statm").read_text()
    pages = [int(line.split()[1]) for line in set(found.values()) if line]
    return [page * os.sysconf("SC_PAGE_SIZE") for page in pages] or [0]
