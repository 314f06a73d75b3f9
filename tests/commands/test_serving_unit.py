"""`smoke`, `check` and `report` run the model as its unit would: variables, affinity, limits."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest
from support.fleet import Commands
from support.tiny_models import classifier_bundle

from envcheck.contract.bundle import build_bundle
from envcheck.smoke.cgroups import usable_cpus

# Starts the interpreter and notes how the model's process was bound when it ended.
WRAPPER = """#!/bin/sh
case "$*" in
*child.py*) exec {python} -c '
import json, os, resource, runpy, sys
leave = os._exit
def note(code):
    with open("{note}", "w") as file:
        json.dump([sorted(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                   os.environ.get("ORT_UNIT")], file)
    leave(code)
os._exit = note
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@" ;;
*) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service `app`, told by a stand-in for systemd; the file that says how its process was bound."""
    note = tmp_path / "note.json"
    python = tmp_path / "python3"
    python.write_text(WRAPPER.format(python=sys.executable, note=note))
    python.chmod(0o755)
    shown = [
        "LoadState=loaded", "MainPID=0", f"ExecStart={{ path={python} ; argv[]={python} -m app ; }}",
        "Environment=ORT_UNIT=yes", f"CPUAffinity={min(os.sched_getaffinity(0))}", "LimitNOFILESoft=777",
    ]  # fmt: skip
    (tmp_path / "shown").write_text("\n".join(shown) + "\n")
    folder = tmp_path / "bin"
    folder.mkdir()
    stand_in = folder / "systemctl"
    stand_in.write_text(f'#!/bin/sh\ncase "$*" in *app.service) cat {tmp_path / "shown"} ;; esac\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return note


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    bundle = classifier_bundle()
    path = tmp_path / "tiny.envcheck"
    path.write_bytes(build_bundle(bundle.manifest.release, bundle.members))
    return path


def expected() -> list[object]:
    return [[min(os.sched_getaffinity(0))], 777, "yes"]


def test_smoke(noted: Path, tiny: Path, commands: Commands) -> None:
    said = commands("smoke", str(tiny), "--unit", "app", "--quick", "--json")
    assert said.code == 0, said
    assert json.loads(noted.read_text()) == expected()
    captured = json.loads(commands("capture", "--unit", "app", "--json").out)
    assert json.loads(said.out)["evidence"]["fingerprint"] == captured["digest"]


def test_check_by_the_configuration(noted: Path, tiny: Path, tmp_path: Path, commands: Commands) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("unit: app.service\nsmoke_quick: true\n")
    said = commands("check", str(tiny), "--config", str(config), "--json")
    assert said.code in (0, 1), said
    assert json.loads(noted.read_text()) == expected()


@pytest.mark.parametrize("command", ["smoke", "check"])
def test_a_unit_that_is_not_there(noted: Path, tiny: Path, command: str, commands: Commands) -> None:
    said = commands(command, str(tiny), "--unit", "nosuch")
    assert said.code == 2
    assert "there is no unit nosuch.service" in said.err


def test_threads_follow_the_affinity() -> None:
    own = sorted(os.sched_getaffinity(0))
    assert usable_cpus(affinity=own[:1]) == 1
    assert usable_cpus(affinity=[4095]) == usable_cpus()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 777
