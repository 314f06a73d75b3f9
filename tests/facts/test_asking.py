from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from envcheck.facts.asking import ASKING_SECTIONS, Asking, more_source, probe_source
from envcheck.facts.host import Host, Target
from envcheck.facts.interpreter import MARKER, parse_answer
from envcheck.facts.process import Begun, begin


def told(target: Target, host: Host | None = None) -> bytes:
    asking = Asking(target, host or Host(), time.monotonic() + 20, tuple(ASKING_SECTIONS))
    return asking.wait().stdout


def test_the_agents_own_interpreter_tells_the_same_from_compiled_code_as_from_text() -> None:
    command = [sys.executable, "-I", "-B", "-c", probe_source(), more_source()]
    sent = subprocess.run(command, capture_output=True, check=True, cwd="/").stdout
    assert sent.startswith(b"\n" + MARKER)
    assert told(Target()) == sent


def test_the_current_directory_and_what_python_is_told_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "os.py").write_text("raise SystemExit('wrong os')")
    (tmp_path / "liar-1.0.dist-info").mkdir()
    before = told(Target())
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert told(Target(), Host(environ={**os.environ, "PYTHONPATH": str(tmp_path)})) == before
    finally:
        os.chdir(here)


def test_it_is_asked_at_once_and_only_where_a_section_needs_it() -> None:
    started: list[list[str]] = []

    def noted(command: list[str], *, environ: Mapping[str, str], anywhere: bool = False) -> Begun:
        started.append(command)
        return begin(command, environ=environ, anywhere=anywhere)

    host = Host(begin=noted)
    Asking(Target(), host, time.monotonic() + 20, ("cpu", "memory"))
    Asking(Target(""), host, time.monotonic() + 20, ("packages",))
    assert started == []
    asking = Asking(Target(), host, time.monotonic() + 20, ("packages",))
    assert len(started) == 1
    assert parse_answer(asking.wait().stdout) is not None
    assert asking.wait() is asking.wait()
    assert len(started) == 1


def test_one_that_does_not_answer_costs_no_more_than_its_time(tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nsleep 60\n")
    silent.chmod(0o755)
    begun = time.monotonic()
    ended = Asking(Target(str(silent)), Host(), begun + 0.5, ("python",)).wait()
    assert ended.timed_out
    assert time.monotonic() - begun < 5
