"""Starts the smoke child: limits first, so that it loads its libraries while the agent reads the bundle.

The process has its own session and is killed with everything it started. Limits are set by the child on
itself before it loads anything, so that any interpreter, or a wrapper that starts an emulator, can be the
target. Little is imported here: whatever comes before the child's start is waited for.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from envcheck.errors import BadInput, Undetermined
from envcheck.facts.host import Host, Target
from envcheck.smoke.counters import Counters, read_counters
from envcheck.smoke.lending import lend, lend_outputs, take_back

OUTPUT_MB = 2048
_FILES = (
    "child.py",
    "child_bounds.py",
    "child_isa.py",
    "child_look.py",
    "child_timings.py",
    "child_values.py",
)
_NICE = 10


class Child:
    """A child under way in `workdir`, which reads its job there once it has loaded its libraries.

    `process` is None where the interpreter could not be started; `refused` says why. `begin` is when it was
    started, in monotonic seconds, `before` what the kernel had counted by then.
    """

    def __init__(self, target: Target, deadline_s: float, workdir: Path, host: Host) -> None:
        self.target, self.deadline_s, self.workdir, self.host = target, deadline_s, workdir, host
        self.begin = time.monotonic()
        self.before: Counters = read_counters(host.root)
        self.process: subprocess.Popen[bytes] | None = None
        self.refused = ""
        self._stopped = False

    @property
    def outputs(self) -> Path:
        """The directory that the child writes to."""
        return self.workdir / "out"

    @property
    def deadline(self) -> float:
        """When it is over, in monotonic seconds."""
        return self.begin + self.deadline_s

    def start(self, limits: dict[str, Any]) -> None:
        """Start it; raises OSError only when `workdir` can't be written."""
        self.outputs.mkdir()
        for name in _FILES:
            shutil.copyfile(Path(__file__).with_name(name), self.workdir / name)
        (self.workdir / "limits.json").write_text(json.dumps(limits), encoding="utf-8")
        lend(self.workdir, self.target.rights)
        lend_outputs(self.outputs, self.target.rights)
        # -B: a probe changes nothing on the host: no compiled files appear in the application's environment.
        command = self.target.command("-B", str(self.workdir / "child.py"), str(self.workdir))
        try:
            self.process = self._open(command)
        except OSError as error:
            self.refused = f"the interpreter can't be started: {error.strerror}"

    def _open(self, command: list[str]) -> subprocess.Popen[bytes]:
        rights = self.target.rights
        taken: dict[str, Any] = {}
        if rights is not None:
            taken = {"user": rights.uid, "group": rights.gid, "extra_groups": list(rights.groups)}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.target.starting(self.host),
            cwd=self.workdir,
            start_new_session=True,
            **taken,
        )

    def deliver(self, job: str) -> None:
        """Hand over the job: models and inputs are in their places. Raises OSError."""
        unseen = self.workdir / "job.json.new"
        unseen.write_text(job, encoding="utf-8")
        lend(self.workdir, self.target.rights)
        unseen.replace(self.workdir / "job.json")

    def stop(self) -> int | None:
        """Kill what is left of it, take its outputs back, and return its status; None when it never ran."""
        if not self._stopped:
            self._stopped = True
            self._kill()
            take_back(self.outputs, self.target.rights)
        return self.process.returncode if self.process is not None else None

    def _kill(self) -> None:
        if self.process is None:
            return
        # The child itself at the deadline, or what it started.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with self.process:
            self.process.wait()


@contextmanager
def start_child(
    target: Target,
    deadline_s: float,
    workdir: Path,
    *,
    host: Host | None = None,
    memory_mb: int | None = None,
    output_mb: int = OUTPUT_MB,
) -> Iterator[Child]:
    """Start a child of `target` in `workdir`, an existing private directory; it is gone at the end.

    A copy of the child, its limits, its job and the raw outputs are put there, and nothing else needs to be
    visible to the target but the models and inputs. A target of another user's rights may read it, and write
    the outputs, for as long as the child runs. `memory_mb` bounds the child's address space, `output_mb` what
    it may write. Raises OSError only when `workdir` can't be written.
    """
    child = Child(target, deadline_s, workdir, host or Host())
    limits = {
        "cpu_s": math.ceil(deadline_s) * (os.cpu_count() or 1) + 5,
        "file_bytes": output_mb * 2**20,
        "memory_bytes": -1 if memory_mb is None else memory_mb * 2**20,
        "nice": _NICE,
        # What the serving unit grants its process.
        "affinity": target.affinity,
        "soft": {name: value for name, value in target.limits.items() if value is not None},
    }
    try:
        child.start(limits)
        yield child
    finally:
        child.stop()


@contextmanager
def work_folder() -> Iterator[Path]:
    """Make a private directory for one run; raises Undetermined when that is not possible."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="envcheck-smoke-", ignore_cleanup_errors=True)
    except OSError as error:
        raise Undetermined(
            f"no temporary directory can be made: {error.strerror}", "set TMPDIR to a directory with room"
        ) from None
    with folder as name:
        yield Path(name)


def require_deadline(deadline_s: float) -> float:
    """Return the deadline; raises BadInput unless it is a number of seconds above 0."""
    if math.isfinite(deadline_s) and deadline_s > 0:
        return deadline_s
    raise BadInput(f"the deadline is {deadline_s:g} s", "give the model some time: a number above 0")
