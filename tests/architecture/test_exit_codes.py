"""Each exit code of the table is what the real command really ends with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envcheck import errors
from envcheck.cli import envcheck

COMMAND = Path(sys.executable).with_name("envcheck")


def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, env={**os.environ, **environ}, timeout=120
    )


def changed(source: Path, target: Path, section: str, **fields: Any) -> Path:
    """A fingerprint of another machine: one section of this one's changed."""
    fingerprint = json.loads(source.read_text(encoding="utf-8"))
    fingerprint["sections"][section].update(fields)
    target.write_text(json.dumps(fingerprint), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("here") / "here.json"
    found = run("capture", "-o", path)
    assert (found.returncode, found.stderr) == (0, "")
    return path


def test_the_table_is_the_one_that_help_shows() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    shown = {int(code) for code in re.findall(r"\b(\d+) [a-z]", envcheck.epilog or "")}
    assert codes == shown == {0, 1, 2, 3, 4, 70, 130}


def test_0_done(here: Path) -> None:
    assert run("--version").returncode == 0
    assert run("diff", here, here).returncode == 0


def test_1_a_difference_that_blocks(here: Path, tmp_path: Path) -> None:
    python = json.loads(here.read_text(encoding="utf-8"))["sections"]["python"]["shared"]
    other = changed(here, tmp_path / "other.json", "python", shared={**python, "version": "3.2.6"})
    found = run("diff", here, other)
    assert found.returncode == 1
    assert "3.2.6" in found.stdout
    assert found.stderr == ""


def test_2_wrong_usage_and_bad_input(tmp_path: Path) -> None:
    for arguments in (["nosuch"], ["capture", "--nosuch"], ["gate"], ["diff", "absent.json", "absent.json"]):
        found = run(*arguments)
        assert found.returncode == 2
        assert found.stdout == ""
        assert "Traceback" not in found.stderr
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": "envcheck.fingerprint/1.0"', encoding="utf-8")
    assert run("diff", broken, broken).returncode == 2


def test_3_what_could_not_be_read_is_unknown(here: Path, tmp_path: Path) -> None:
    other = changed(
        here, tmp_path / "other.json", "python", status="unreadable", reason="no right", shared={}
    )
    found = run("diff", here, other)
    assert found.returncode == 3
    assert "no right" in found.stdout


def test_4_no_collector() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    found = run("gate", "digits@1.3", ENVCHECK_COLLECTOR=url, ENVCHECK_TOKEN="token")
    assert found.returncode == 4
    assert found.stdout == ""
    assert url in found.stderr


def test_70_an_internal_error(tmp_path: Path) -> None:
    # A library that is damaged on disk: nothing that envcheck could have foreseen, or the user meant.
    (tmp_path / "yaml.py").write_text("raise RuntimeError('damaged')\n", encoding="utf-8")
    configuration = tmp_path / "config.yaml"
    configuration.write_text("device: a\n", encoding="utf-8")
    found = run("capture", "--config", configuration, PYTHONPATH=str(tmp_path))
    assert found.returncode == 70
    assert found.stdout == ""
    assert found.stderr.startswith("internal error: RuntimeError: damaged\n")
    assert "Traceback" not in found.stderr
    shown = run("capture", "--config", configuration, PYTHONPATH=str(tmp_path), ENVCHECK_DEBUG="1")
    assert shown.returncode == 70
    assert "Traceback" in shown.stderr


def test_130_interrupted() -> None:
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        collector.settimeout(60)
        url = f"http://127.0.0.1:{collector.getsockname()[1]}"
        environ = {**os.environ, "ENVCHECK_COLLECTOR": url, "ENVCHECK_TOKEN": "token"}
        with subprocess.Popen(
            [COMMAND, "gate", "digits@1.3"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            # It has asked, and waits for an answer that does not come.
            connection, _ = collector.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                output, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == ""
    assert said.strip() == "interrupted"


@pytest.mark.parametrize("arguments", [["capture", "--json"], ["capture"], ["--help"]])
def test_a_pipe_that_nobody_reads_is_neither_pass_nor_fail(arguments: list[str]) -> None:
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3
