"""Runs one job in a fresh process of the target interpreter: bounded, watched, and explained.

The process has its own session and is killed with everything it started at the deadline. Limits are set
by the child on itself before it loads anything, so that any interpreter, or a wrapper that starts an
emulator, can be the target.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, Any

import msgspec

from envcheck.contract.evidence import Ending
from envcheck.facts.host import Host, Rights, Target
from envcheck.smoke.counters import read_counters, rose
from envcheck.smoke.explain import Exit, explain
from envcheck.smoke.job import ChildResult, ChildRun, Job
from envcheck.smoke.lending import closed_folder, lend, lend_outputs, take_back

_CHILD = ("child.py", "child_look.py", "child_timings.py", "child_values.py")
_MARK = b"@envcheck "
_HEAD, _TAIL = 16 * 1024, 48 * 1024
_MAX_RESULT = 64 * 1024 * 1024
_NICE = 10
# A process group that still holds our pipes after the child itself has gone is looked at this often.
_POLL_S = 0.1

Progress = Callable[[str], None]


def run_job(
    job: Job,
    target: Target,
    deadline_s: float,
    workdir: Path,
    *,
    progress: Progress | None = None,
    host: Host | None = None,
    place: Callable[[], None] | None = None,
) -> ChildRun:
    """Run `job` in `target` for at most `deadline_s` seconds and say how it ended; never raises for that.

    `workdir` is an existing private directory: the job, a copy of the child and the raw outputs are put
    there, and nothing else needs to be visible to the target but the models and inputs. A target of another
    user's rights may read it, and write the outputs, for as long as the child runs. `progress` is
    called with each stage. `place` puts the models and inputs of a job that waits for them in their places
    while the child imports its libraries; what it raises stops the child and is raised here. Raises
    OSError only when `workdir` can't be written.
    """
    begin = time.monotonic()
    host = host or Host()
    before = read_counters(host.root)
    _prepare(job, target, deadline_s, workdir)
    # -B: a probe changes nothing on the host, so no compiled files appear in the application's environment.
    command = target.command("-B", str(workdir / "child.py"), str(workdir))
    watch, outputs = _Watch(progress), workdir / "out"
    lend(workdir, target.rights)
    lend_outputs(outputs, target.rights)
    try:
        with _placing(place, workdir, watch, target.rights):
            _watch(watch, command, target.starting(host), workdir, begin + deadline_s, target.rights)
    finally:
        take_back(outputs, target.rights)
    result = _read_result(outputs / "result.json")
    how = Exit(
        status=watch.status,
        timed_out=watch.timed_out,
        deadline_s=deadline_s,
        stage=watch.stage,
        stderr=watch.stderr.text(),
        fault=_read_text(outputs / "fault.txt"),
        oom_killed=rose(before.oom_kills, read_counters(host.root).oom_kills),
    )
    ending = watch.refused or explain(how, result)
    return ChildRun(
        ending=ending,
        result=result or ChildResult(),
        outputs=outputs,
        stderr=how.stderr,
        wall_ms=(time.monotonic() - begin) * 1000,
    )


@contextmanager
def _placing(
    place: Callable[[], None] | None, workdir: Path, watch: _Watch, rights: Rights | None
) -> Iterator[None]:
    """Run `place` beside the child, tell the child when it is done, and raise what it raised."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            if place is not None:
                place()
            lend(workdir, rights)
            (workdir / "ready").touch()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failures.append(error)
            watch.unplaced = True

    if place is None:
        yield
        return
    thread = Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def _prepare(job: Job, target: Target, deadline_s: float, workdir: Path) -> None:
    (workdir / "out").mkdir()
    for name in _CHILD:
        shutil.copyfile(Path(__file__).with_name(name), workdir / name)
    on_gpu = any("CUDA" in name or "Tensorrt" in name for spec in job.sessions for name in spec.providers)
    memory = -1 if job.memory_limit_mb is None or on_gpu else job.memory_limit_mb * 2**20
    limits = {
        "cpu_s": math.ceil(deadline_s) * (os.cpu_count() or 1) + 5,
        "file_bytes": job.output_limit_mb * 2**20,
        "memory_bytes": memory,
        "nice": _NICE,
        # What the serving unit grants its process.
        "affinity": target.affinity,
        "soft": {name: value for name, value in target.limits.items() if value is not None},
    }
    order = json.dumps({"job": _plain(job), "limits": limits})
    (workdir / "job.json").write_text(order, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Spell out a value with its defaults, so that the child needs to know none."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@dataclass
class _Bounded:
    """The head and the tail of a stream that may be endless."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        room = _HEAD - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        if len(self.tail) > 2 * _TAIL:
            del self.tail[:-_TAIL]

    def text(self) -> str:
        return (self.head + self.tail[-_TAIL:]).decode("utf-8", "replace")


@dataclass
class _Watch:
    """What was seen of the child from outside."""

    progress: Progress | None
    stage: str = ""
    status: int | None = None
    timed_out: bool = False
    unplaced: bool = False
    refused: Ending | None = None
    stderr: _Bounded = field(default_factory=_Bounded)
    partial: bytes = b""

    def on_stdout(self, data: bytes) -> None:
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.partial = self.partial[-1000:]
        for line in lines:
            if line.startswith(_MARK):
                self.stage = line[len(_MARK) :].decode("ascii", "replace").strip()[:200]
                if self.progress is not None:
                    self.progress(self.stage)
            else:
                self.stderr.add(line + b"\n")


def _watch(
    watch: _Watch,
    command: list[str],
    environ: dict[str, str],
    workdir: Path,
    deadline: float,
    rights: Rights | None,
) -> None:
    taken: dict[str, Any] = {}
    if rights is not None:
        taken = {"user": rights.uid, "group": rights.gid, "extra_groups": list(rights.groups)}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=workdir,
            start_new_session=True,
            **taken,
        )
    except OSError as error:
        reason = f"the interpreter can't be started: {error.strerror}"
        watch.refused = Ending(
            status="error",
            stage="start",
            reason=reason,
            hint="check that --python names a program that this user may run",
        )
        return
    with process:
        try:
            _pump(process, watch, deadline)
        finally:
            # Whatever is left of the group: the child itself at the deadline, or what it started.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        watch.status = process.wait()
    closed = None if watch.stage or watch.timed_out else closed_folder(workdir, rights)
    if closed is not None:
        watch.refused = Ending(
            status="error",
            stage="start",
            reason=f"the service's user may not enter {closed}, below which the run was prepared",
            hint="set TMPDIR to a directory that this user may enter",
        )


def _pump(process: subprocess.Popen[bytes], watch: _Watch, deadline: float) -> None:
    """Read both streams until the child is gone or the deadline has passed."""
    with selectors.DefaultSelector() as selector:
        for stream, sink in ((process.stdout, watch.on_stdout), (process.stderr, watch.stderr.add)):
            assert stream is not None  # noqa: S101 - both were asked for
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, sink)
        while process.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0 or watch.unplaced:
                watch.timed_out = left <= 0
                return
            if not selector.get_map():
                _wait(process, left)
                continue
            _read_ready(selector, min(left, _POLL_S))
        _read_ready(selector, 0)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _read_ready(selector: selectors.BaseSelector, timeout: float) -> None:
    for key, _ in selector.select(timeout):
        stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
        data = _available(stream.fileno())
        if data:
            key.data(data)
        else:
            selector.unregister(stream)


def _available(descriptor: int) -> bytes:
    chunks = []
    with suppress(BlockingIOError):
        for _ in range(64):
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            chunks.append(chunk)
    return b"".join(chunks)


def _read_result(path: Path) -> ChildResult | None:
    """Read what the child wrote; None when it wrote nothing, or not what a child writes."""
    try:
        if path.stat().st_size > _MAX_RESULT:
            return None
        return msgspec.json.decode(path.read_bytes(), type=ChildResult)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return ""
