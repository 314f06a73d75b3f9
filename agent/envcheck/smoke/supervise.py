"""Runs one job in a fresh process of the target interpreter: bounded, watched, and explained."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, Any

import msgspec

from envcheck.contract.evidence import Ending
from envcheck.facts.host import Host, Target
from envcheck.smoke.counters import read_counters, rose
from envcheck.smoke.explain import Exit, explain
from envcheck.smoke.job import ChildResult, ChildRun, Job
from envcheck.smoke.lending import closed_folder
from envcheck.smoke.starting import Child, start_child

_MARK = b"@envcheck "
_HEAD, _TAIL = 16 * 1024, 48 * 1024
_MAX_RESULT = 64 * 1024 * 1024
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
) -> ChildRun:
    """Run `job`, whose files lie in their places, in `target` for at most `deadline_s` seconds.

    See `start_child` for what becomes of `workdir`, and `watch_child` for what comes back.
    """
    providers = [name for spec in job.sessions for name in spec.providers]
    memory, output = None if uses_gpu(providers) else job.memory_limit_mb, job.output_limit_mb
    with start_child(target, deadline_s, workdir, host=host, memory_mb=memory, output_mb=output) as child:
        return watch_child(child, lambda: job, progress=progress)


def uses_gpu(providers: Iterable[str]) -> bool:
    """Tell whether a provider's libraries reserve far more address space than they use."""
    return any("CUDA" in name or "Tensorrt" in name for name in providers)


def watch_child(
    child: Child,
    prepare: Callable[[], Job],
    *,
    progress: Progress | None = None,
    delivered: Callable[[], None] | None = None,
) -> ChildRun:
    """Give `child` the job that `prepare` returns, and say how it ended; never raises for that.

    `prepare` puts the models and inputs in their places, while the child imports its libraries; what it
    raises stops the child and is raised here. `delivered` is called when the child has its job, `progress`
    with each stage. Raises OSError only when the work directory can't be written.
    """
    watch = _Watch(progress)
    if child.refused:
        watch.refused = Ending(
            status="error",
            stage="start",
            reason=child.refused,
            hint="check that --python names a program that this user may run",
        )
    with _delivering(child, prepare, delivered, watch):
        _watch(watch, child)
    result = _read_result(child.outputs / "result.json")
    how = Exit(
        status=watch.status,
        timed_out=watch.timed_out,
        deadline_s=child.deadline_s,
        stage=watch.stage,
        stderr=watch.stderr.text(),
        fault=_read_text(child.outputs / "fault.txt"),
        oom_killed=rose(child.before.oom_kills, read_counters(child.host.root).oom_kills),
    )
    ending = watch.refused or explain(how, result)
    return ChildRun(
        ending=ending,
        result=result or ChildResult(),
        outputs=child.outputs,
        stderr=how.stderr,
        wall_ms=(time.monotonic() - child.begin) * 1000,
    )


@contextmanager
def _delivering(
    child: Child, prepare: Callable[[], Job], delivered: Callable[[], None] | None, watch: _Watch
) -> Iterator[None]:
    """Prepare the job beside the child, hand it over, and raise what was raised by that."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            child.deliver(json.dumps(_plain(prepare())))
            if delivered is not None:
                delivered()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failures.append(error)
            watch.unprepared = True

    thread = Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


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
    unprepared: bool = False
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


def _watch(watch: _Watch, child: Child) -> None:
    if child.process is None:
        return
    try:
        _pump(child.process, watch, child.deadline)
    finally:
        watch.status = child.stop()
    closed = None if watch.stage or watch.timed_out else closed_folder(child.workdir, child.target.rights)
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
            if left <= 0 or watch.unprepared:
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
