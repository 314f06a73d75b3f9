"""docs/baselines.md: its calls run as they stand, and every option it names exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
from support.example_models import DIGITS
from support.sources import ROOT
from support.tools import need

from envcheck.cli import envcheck
from envcheck.contract.bundle import read_bundle

DOCUMENT = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
FILES = {"cnn.onnx": "digits.onnx", "inputs.npz": "golden.npz", "labels.npz": "labels.npz"}
BEFORE = """\
import io, numpy as np, torch
torch.manual_seed(0)
images = np.load("golden.npz")["image"][:20]
classes = np.load("labels.npz")["labels"][:20]
module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def options_of(*path: str) -> set[str]:
    command: click.Command = envcheck
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")}


def test_every_option_that_is_named_exists_and_every_one_of_create_is_named() -> None:
    named = set(re.findall(r"--[a-z][a-z-]+", DOCUMENT))
    assert named <= options_of("baseline", "create") | options_of("smoke")
    unspoken = {"--deadline", "--env-file", "--provider", "--quick", "--output"}
    assert options_of("baseline", "create") - named - unspoken == {"-o"}


@pytest.mark.slow
def test_the_calls_run_as_they_stand(tmp_path: Path) -> None:
    for source, name in FILES.items():
        shutil.copy(DIGITS / source, tmp_path / name)
    (tmp_path / "recorded").mkdir()
    shutil.copy(DIGITS / "inputs.npz", tmp_path / "recorded" / "1.npz")
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    if "PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run("envcheck", "key", "create", "release.pem")
    create, timing, shadow = blocks("sh")
    run(need("sh"), "-ec", create)
    first = read_bundle((tmp_path / "digits@1.3.envcheck").read_bytes(), "it").baseline()
    assert (first.edge_cases, first.samples) == (3, 183)
    run(need("sh"), "-ec", timing)
    assert "shadow: ok" in run(need("sh"), "-ec", shadow)
    (script,) = blocks("python")
    run(sys.executable, "-c", textwrap.dedent(BEFORE + script))
    made = read_bundle((tmp_path / "digits@1.3.envcheck").read_bytes(), "it").baseline()
    assert made.samples == 20
