"""A plain `capture` is read without click: both readings must be the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envcheck.commands.capture import capture
from envcheck.commands.plain import plain_options

OPTIONS = [name for parameter in capture.params for name in (*parameter.opts, *parameter.secondary_opts)]
VALUES = ["", "cpu", "/opt/venv/bin/python", "2.5", "0", "nan", "1e3", "1_0", "soon", "-", "-1", "a b", "é"]
OTHERS = ["--help", "-h", "-ofile", "--python=x", "--sec", "--nonsense", "--"]
FULL = Path("/dev/full")


def clicks(arguments: list[str]) -> dict[str, Any] | None:
    """What click reads; None where it refuses or answers by itself."""
    try:
        return capture.make_context("capture", list(arguments)).params
    except (click.ClickException, click.exceptions.Exit):
        return None


def agree(arguments: list[str]) -> bool:
    """Tell whether the arguments were plain; what is read must then be what click reads."""
    found = plain_options(arguments)
    if found is None:
        return False
    read = clicks(arguments)
    assert read is not None
    defaults = {name: value for name, value in read.items() if name not in found}
    assert repr({**found, **defaults}) == repr({name: read[name] for name in {**found, **defaults}})
    assert set(defaults.values()) <= {None, False, ()}
    return True


@given(st.lists(st.sampled_from([*OPTIONS, *VALUES, *OTHERS]), max_size=6))
@example(["--deadline", "1_0"])
@example(["--deadline", " 1 "])
def test_what_is_read_plainly_is_what_click_reads(arguments: list[str]) -> None:
    agree(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--json"],
        ["--json", "--json"],
        ["--python", "/opt/app/venv/bin/python", "--env-file", "/etc/default/app"],
        ["--section", "cpu", "--section", "onnxruntime", "--json"],
        ["-o", "fingerprint.json"],
        ["--output", "fingerprint.json", "--deadline", "2.5"],
        ["--root", "/mnt/image", "--section", "system"],
        ["--config", "config.yaml"],
        ["--deadline", "nan"],
    ],
)
def test_the_documented_forms_are_plain(arguments: list[str]) -> None:
    assert agree(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["--nonsense"],
        ["cpu"],
        ["--python"],
        ["--python", "-x"],
        ["--python=x"],
        ["-ox"],
        ["--python", "a", "--python", "b"],
        ["--deadline", "soon"],
        ["--json", "--"],
    ],
)
def test_all_else_is_left_to_click(arguments: list[str]) -> None:
    assert plain_options(arguments) is None


def test_completion_is_left_to_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ENVCHECK_COMPLETE", "bash_source")
    assert plain_options(["--json"]) is None


def run(module: str, *arguments: str) -> tuple[int, str, str]:
    code = f"from {module} import main; main()"
    command = [sys.executable, "-c", code, "capture", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--section", "variables"],
        ["--section", "gpu"],
        ["--deadline", "0"],
        ["--python", "/no/such/\x1bpython"],
        ["--section", "variables", "-o", "/"],
        ["--nonsense"],
        ["--python"],
        ["--help"],
    ],
)
def test_both_ways_end_alike(arguments: list[str]) -> None:
    plain, clicked = (run(module, *arguments) for module in ("envcheck.__main__", "envcheck.cli"))
    # click names the program in its usage.
    assert [text.replace("-c", "") for text in plain[1:]] == [text.replace("-c", "") for text in clicked[1:]]
    assert plain[0] == clicked[0]


def test_a_plain_capture_imports_no_click() -> None:
    code = (
        "import sys; sys.argv = ['envcheck', 'capture', '--json', '--section', 'variables']\n"
        "import atexit, envcheck.__main__\n"
        "atexit.register(lambda: print('click' in sys.modules, file=sys.stderr))\n"
        "envcheck.__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "False\n"


def test_a_pipe_that_nobody_reads_is_neither_pass_nor_fail() -> None:
    command = [sys.executable, "-m", "envcheck", "capture", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a disk without room")
def test_a_full_disk_is_told() -> None:
    with FULL.open("wb") as full:
        command = [sys.executable, "-m", "envcheck", "capture", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        3,
        "error: the output can't be written: [Errno 28] No space left on device\n",
    )


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\n[ "$2" = -S ] && echo python3 || {{ touch {tmp_path}/asked; sleep 60; }}\n')
    slow.chmod(0o755)
    command = [sys.executable, "-m", "envcheck", "capture", "--python", str(slow)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "asked").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out, said.strip()) == (130, "", "interrupted")
