"""The agent itself on every Python that it supports and that is found here, from 3.10 on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from support.fleet import EXAMPLES
from support.interpreters import interpreters, newest_onnxruntime, venv_with
from support.sources import ROOT

AGENTS = {version: path for version, path in interpreters().items() if version not in ("3.8", "3.9")}
_MAIN = "from envcheck.__main__ import main; main()"


def agent(version: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the agent's sources in a Python that holds its dependencies and onnxruntime."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = venv_with(AGENTS[version], [*project["dependencies"], newest_onnxruntime(version)])
    return subprocess.run(
        [python, "-W", "error::SyntaxWarning", "-c", _MAIN, *(str(each) for each in arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "agent")},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_there_is_one_to_run_on() -> None:
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in AGENTS


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(AGENTS))
def test_the_local_half_of_the_main_job(version: str, tmp_path: Path) -> None:
    captured = agent(version, "capture", "--json")
    assert captured.returncode == 0, captured.stderr
    python = json.loads(captured.stdout)["sections"]["python"]["shared"]
    assert python["version"].startswith(f"{version}.")

    key, bundle = tmp_path / "key.pem", tmp_path / "digits.envcheck"
    assert agent(version, "key", "create", key).returncode == 0
    created = agent(
        version,
        *("baseline", "create", EXAMPLES / "cnn.onnx", "--inputs", EXAMPLES / "inputs.npz"),
        *("--labels", EXAMPLES / "labels.npz", "--name", "digits@1.0", "--key", key, "-o", bundle),
    )
    assert created.returncode == 0, created.stderr
    assert agent(version, "baseline", "verify", bundle, "--key", key).returncode == 0
    checked = agent(version, "check", bundle, "--policy", "strict")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "verdict: pass" in checked.stdout
