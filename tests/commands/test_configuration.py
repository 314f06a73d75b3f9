from __future__ import annotations

import os
from pathlib import Path

import pytest

from envcheck.cli import envcheck, run_cli


@pytest.mark.parametrize("command", ["smoke b.envcheck", "check b.envcheck", "report", "enroll http://h:1"])
def test_a_configuration_that_nobody_writes_holds_no_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A named pipe blocks whoever opens it, until somebody writes."""
    monkeypatch.setattr("envcheck.commands.configuration._PATIENCE_S", 0.2)
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    assert run_cli(envcheck, [*command.split(), "--config", str(pipe)]) == 3
    assert capsys.readouterr().err.startswith(f"error: the configuration {pipe} did not answer in 0.2 s\n")
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))


def test_a_pipe_that_somebody_writes_is_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of `--config <(...)` in a shell."""
    end, writing = os.pipe()
    os.write(writing, b"device: press-07\nmodell: x\n")
    os.close(writing)
    assert run_cli(envcheck, ["report", "--config", f"/dev/fd/{end}"]) == 2
    assert "modell" in capsys.readouterr().err
    os.close(end)
