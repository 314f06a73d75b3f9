"""`smoke`, `check` and `report` run the model as its unit would: variables, affinity, limits."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
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


SYSTEM = Path("/usr/bin/python3")
# Beside running the model it plants what root must not read with root's rights.
AS_SOMEBODY = """#!/bin/sh
case "$*" in
*child.py*) exec {python} -c '
import json, os, runpy, sys
leave = os._exit
def note(code):
    out = os.path.join(sys.argv[1], "out")
    told = [os.getuid(), sorted(os.getgroups()), os.nice(0), open("/proc/self/oom_score_adj").read().strip(),
            os.access(sys.argv[1], os.W_OK), os.access(out, os.W_OK), sys.path[-1]]
    os.unlink(os.path.join(out, "fault.txt"))
    os.symlink("{secret}", os.path.join(out, "fault.txt"))
    os.mkfifo(os.path.join(out, "pipe"))
    with open("{note}", "w") as file:
        json.dump(told, file)
    leave(code)
os._exit = note
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@" ;;
*) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def nobodys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A service `app` of the user nobody, whose Python everybody may run, in a folder open to all."""
    site = Path(str(find_spec("onnxruntime").origin)).parents[1]  # type: ignore[union-attr]
    tried = [str(SYSTEM), "-c", f"import sys; sys.path.append({str(site)!r}); import onnxruntime"]
    if os.geteuid() != 0 or not SYSTEM.exists():
        pytest.skip("only root may become another user")
    if subprocess.run(tried, user=65534, group=65534, cwd="/", capture_output=True).returncode:
        pytest.skip("needs an onnxruntime that every user may import into the system's Python")
    folder = Path("/tmp") / f"envcheck-unit-{os.getpid()}"
    (folder / "bin").mkdir(parents=True)
    (folder / "secret").write_text("the secret of root")
    (folder / "secret").chmod(0o600)
    (folder / "written").mkdir()
    (folder / "written").chmod(0o777)
    python = folder / "python3"
    values = {"python": SYSTEM, "note": folder / "written/note.json", "secret": folder / "secret"}
    python.write_text(AS_SOMEBODY.format(**values))
    shown = [
        "LoadState=loaded", "MainPID=0", f"ExecStart={{ path={python} ; argv[]={python} -m app ; }}",
        "User=nobody", f"Environment=PYTHONPATH={site.name}", f"WorkingDirectory={site.parent}",
    ]  # fmt: skip
    (folder / "shown").write_text("\n".join(shown) + "\n")
    stand_in = folder / "bin/systemctl"
    stand_in.write_text(f'#!/bin/sh\ncase "$*" in *app.service) cat {folder / "shown"} ;; esac\n')
    for path in (python, stand_in):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_root_runs_the_model_with_the_rights_of_the_services_user(
    nobodys: Path, tiny: Path, commands: Commands, umask: int
) -> None:
    before = os.umask(umask)
    try:
        said = commands("smoke", str(tiny), "--unit", "app", "--quick", "--json")
    finally:
        os.umask(before)
    assert said.code == 0, said
    uid, groups, niceness, score, owns_work, owns_outputs, _ = json.loads(
        (nobodys / "written/note.json").read_text()
    )
    assert (uid, 0 in groups, niceness - os.nice(0), score) == (65534, False, 10, "1000")
    assert (owns_work, owns_outputs) == (False, True)
    assert "the secret of root" not in said.out + said.err
    captured = json.loads(commands("capture", "--unit", "app", "--json").out)
    assert json.loads(said.out)["evidence"]["fingerprint"] == captured["digest"]
    assert "onnxruntime" in captured["sections"]["packages"]["shared"]


def test_a_folder_for_runs_that_the_services_user_may_not_enter(
    nobodys: Path, tiny: Path, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "closed"))
    said = commands("smoke", str(tiny), "--unit", "app", "--quick", "--json")
    ending = json.loads(said.out)["evidence"]["ending"]
    assert ending["status"] == "error"
    assert "may not enter /" in ending["reason"]
    assert "TMPDIR" in ending["hint"]


def test_threads_follow_the_affinity() -> None:
    own = sorted(os.sched_getaffinity(0))
    assert usable_cpus(affinity=own[:1]) == 1
    assert usable_cpus(affinity=[4095]) == usable_cpus()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 777
