"""A child that is started before its job: bounded first, stopped by what goes wrong, gone at the end."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.alive import alive
from support.tiny_models import SAMPLES, classifier, npz

from envcheck.errors import BadInput
from envcheck.facts.host import Target
from envcheck.smoke.job import ChildRun, Job, SessionSpec
from envcheck.smoke.starting import Child, start_child
from envcheck.smoke.supervise import watch_child

CPU = ["CPUExecutionProvider"]


def waiting(workdir: Path, place: Callable[[], None], deadline_s: float = 60) -> ChildRun:
    """A job that comes while the child imports its libraries."""
    (workdir / "work").mkdir()
    job = Job(
        models={"model": str(workdir / "m.onnx")},
        inputs={"golden": str(workdir / "golden.npz")},
        sessions=[SessionSpec(name="model", model="model", inputs=["golden"], providers=CPU)],
    )

    def prepare() -> Job:
        place()
        return job

    with start_child(Target(), deadline_s, workdir / "work") as child:
        return watch_child(child, prepare)


def test_a_child_waits_for_what_is_still_being_placed(tmp_path: Path) -> None:
    def place() -> None:
        time.sleep(1.0)
        (tmp_path / "m.onnx").write_bytes(classifier())
        (tmp_path / "golden.npz").write_bytes(npz({"x": SAMPLES}))

    done = waiting(tmp_path, place)
    assert done.ending.status == "ok"
    assert done.wall_ms > 1000


def test_what_placing_raises_stops_the_child_and_is_raised(tmp_path: Path) -> None:
    def place() -> None:
        raise BadInput("it was changed")

    begin = time.monotonic()
    with pytest.raises(BadInput, match="it was changed"):
        waiting(tmp_path, place)
    assert time.monotonic() - begin < 10


def test_a_job_that_never_comes_ends_at_the_deadline(tmp_path: Path) -> None:
    done = waiting(tmp_path, lambda: time.sleep(2.5), deadline_s=1.5)
    assert (done.ending.status, done.ending.stage) == ("timeout", "import")


def test_a_child_that_is_given_nothing_is_gone_at_the_end(tmp_path: Path) -> None:
    """Whatever ends the agent's work before it has a job."""
    begun: list[Child] = []

    def open_nothing() -> None:
        with start_child(Target(), 60, tmp_path) as child:
            begun.append(child)
            raise BadInput("not a bundle")

    with pytest.raises(BadInput):
        open_nothing()
    assert begun[0].process is not None
    assert not alive(begun[0].process.pid)


def test_a_child_is_bounded_before_it_has_a_job(tmp_path: Path) -> None:
    with start_child(Target(), 59.5, tmp_path, output_mb=3, memory_mb=4000) as child:
        cpu_s = 60 * (os.cpu_count() or 1) + 5
        wanted = {
            "file size": 3 * 2**20,
            "cpu time": cpu_s,
            "address space": 4000 * 2**20,
            "core file size": 0,
        }
        assert becomes(child, wanted)
        assert not (tmp_path / "job.json").exists()


def becomes(child: Child, wanted: dict[str, int]) -> bool:
    """Wait until the kernel tells these soft limits of the child."""
    assert child.process is not None
    limits = Path(f"/proc/{child.process.pid}/limits")
    patterns = [re.compile(rf"^Max {name} +{value} ", re.MULTILINE) for name, value in wanted.items()]

    def told() -> bool:
        text = limits.read_text(encoding="ascii")
        return all(pattern.search(text) for pattern in patterns)

    return any(told() or time.sleep(0.02) for _ in range(500))


def test_a_bound_never_widens_the_limit_that_is_there(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nulimit -S -v 1500000\nexec {Target().python} "$@"\n', encoding="ascii")
    script.chmod(0o755)
    with start_child(Target(str(script)), 60, tmp_path, output_mb=3, memory_mb=4000) as child:
        assert becomes(child, {"file size": 3 * 2**20, "address space": 1500000 * 1024})
