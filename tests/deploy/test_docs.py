"""docs/deploy.md and docs/ci.md: commands that exist, a configuration that loads, and blocks that run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from support.fleet import Bundles, Commands, Device, GateFleet
from support.tools import need

from envcheck.cli import envcheck
from envcheck.commands.configuration import load_configuration
from envcheck.commands.gate import FORMATS
from envcheck_server.cli import envcheck_server

ROOT = Path(__file__).parents[2]
PROGRAMS = {"envcheck": envcheck, "envcheck-server": envcheck_server}


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", read(name), re.DOTALL)


def calls(name: str) -> list[list[str]]:
    """Return every call of our programs in the shell blocks, without what stands before it."""
    found = []
    for line in "\n".join(blocks(name, "sh")).splitlines():
        words = shlex.split(line)
        for at, (word, command) in enumerate(pairwise(words)):
            if Path(word).name in PROGRAMS and re.fullmatch("[a-z]+", command):
                found.append([Path(word).name, *words[at + 1 :]])
                break
    return found


@pytest.mark.parametrize("name", ["deploy.md", "ci.md"])
def test_every_option_in_a_call_exists(name: str) -> None:
    assert calls(name)
    for program, command, *arguments in calls(name):
        group: click.Group = PROGRAMS[program]
        found = group.get_command(click.Context(group), command)
        assert found is not None, command
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("-")} <= known


@pytest.mark.parametrize("name", ["deploy.md", "ci.md"])
def test_every_file_of_ours_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"deploy/[a-z]+/[a-z.-]+[a-z]", read(name)))
    assert named
    for path in named:
        assert (ROOT / path).is_file(), path


def test_the_configuration_loads(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(blocks("deploy.md", "yaml")[0], encoding="utf-8")
    configuration = load_configuration(tmp_path / "config.yaml")
    assert configuration.python == "/opt/app/venv/bin/python"
    assert len(configuration.release_keys) == 1


def test_every_format_and_exit_code_is_told() -> None:
    text = read("ci.md")
    assert all(f"`{form}`" in text for form in FORMATS)
    assert re.findall(r"^\| (\d)", text, re.MULTILINE) == ["0", "1", "3", "4", "2"]


def test_the_calls_for_ci_run_as_they_stand(
    fleet: GateFleet, bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = fleet.collector
    bundles.write(tmp_path / "digits.envcheck", "digits@1.3")
    (tmp_path / "presses.csv").write_text("press-docs\n")
    press = Device(
        tmp_path / "device", "press-docs", Commands(capsys), {"release_keys": [bundles.public_key]}
    )
    token = collector.token("enroll", "--uses", "1", "--label", "line=press")
    assert press.run("enroll", collector.url, "--token", token).code == 0
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ENVCHECK_COLLECTOR": collector.url,
        "ENVCHECK_TOKEN": collector.token("admin"),
    }
    push, *questions = blocks("ci.md", "sh")
    for block in (push, "report", *questions):
        if block == "report":
            assert press.run("report").code == 0
            continue
        done = subprocess.run(
            [need("sh"), "-ec", block], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, block + done.stdout + done.stderr
    assert {"gate.xml", "gate.md", "gate.sarif"} <= {path.name for path in tmp_path.iterdir()}
