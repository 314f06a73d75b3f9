"""`envcheck capture` of other targets, with a model, verified, and as a list of software."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from packaging.pylock import Pylock
from packaging.requirements import Requirement
from support.projects import make_project

from envcheck.cli import envcheck, run_cli


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVCHECK_CONFIG", raising=False)


def run(*arguments: str) -> int:
    return run_cli(envcheck, ["capture", *arguments])


def sections(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, dict[str, object]]]:
    assert run(*arguments, "--json") == 0
    return dict(json.loads(capsys.readouterr().out)["sections"])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    site = root / "opt/venv/lib/python3.11/site-packages/alpha-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Name: alpha\nVersion: 1.0\n")
    (root / "opt/venv/bin").mkdir()
    (root / "opt/venv/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    (root / "opt/venv/bin/python").write_text("")
    (root / "opt/model.onnx").write_bytes(b"abc")
    unit = root / "etc/systemd/system/app.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/opt/venv/bin/python -m app\nEnvironment=OMP_NUM_THREADS=3\n")
    return root


def test_a_unit_of_an_image(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sections(capsys, "--root", str(image), "--unit", "app", "--model", "/opt/model.onnx")
    assert found["variables"]["shared"]["values"] == {"OMP_NUM_THREADS": "3"}
    assert found["variables"]["readings"]["model"] == {
        "status": "ok", "size": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }  # fmt: skip
    assert list(found["packages"]["shared"]) == ["alpha"]
    assert found["python"]["status"] == "skipped"
    assert run("--root", str(image), "--unit", "app") == 0
    assert "of app.service (not running)" in capsys.readouterr().out


def test_the_configuration_names_unit_and_model(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin/systemctl"
    show = f"printf 'LoadState=loaded\\nEnvironment=ORT_X=1\\nExecStart={{ path={sys.executable} ; }}\\n'"
    stand_in.write_text(f"#!/bin/sh\n{show}\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "model.onnx").write_bytes(b"abc")
    config = tmp_path / "config.yaml"
    config.write_text("unit: app\nmodel: model.onnx\n")
    found = sections(capsys, "--config", str(config))
    assert found["variables"]["shared"]["origin"] == "unit"
    assert found["variables"]["device"]["model"] == str(tmp_path / "model.onnx")
    assert found["variables"]["readings"]["model"]["size"] == 3
    # What is configured and gone is told; what is asked for and gone is an error.
    (tmp_path / "model.onnx").unlink()
    assert sections(capsys, "--config", str(config))["variables"]["readings"]["model"] == {"status": "absent"}
    # An option goes before the configuration.
    (tmp_path / "app.env").write_text("ORT_Y=2\n")
    found = sections(capsys, "--config", str(config), "--env-file", str(tmp_path / "app.env"))
    assert found["variables"]["shared"]["values"] == {"ORT_Y": "2"}


def test_verified_files_are_told_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    info = next((tmp_path / "venv").rglob("site-packages")) / "alpha-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: alpha\nVersion: 1.0\n")
    (info / "RECORD").write_text("alpha.py,sha256=abc,1\n")
    assert run("--python", str(tmp_path / "venv/bin/python"), "--section", "packages", "--verify") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "alpha-1.0: 1 files are missing (alpha.py)" in printed
    assert "--force-reinstall" in printed


@pytest.mark.parametrize("form", ["cyclonedx", "requirements", "json", "text"])
def test_formats(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--format", form) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "out"
    assert run("--format", form, "-o", str(out)) == 0
    assert capsys.readouterr().out == ""
    written = out.read_text()
    if form == "requirements":
        names = {Requirement(line).name for line in printed.splitlines() if "==" in line and line[0] != "#"}
        assert {"click", "msgspec"} <= names
    elif form == "text":
        assert "fingerprint" in written
        assert "\x1b" not in written
    else:
        assert json.loads(printed)
        assert json.loads(written)


def test_a_lock_file_from_the_wheels_that_were_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wheel is built, installed, recognised and locked; a changed wheel of the same name is not taken."""
    source = make_project(tmp_path / "source", "alpha", "1.0")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-build-isolation", "--no-deps", "--no-index", str(source), "-w"]
    subprocess.run([*pip, *build, str(tmp_path / "wheels")], check=True, capture_output=True)
    wheel = next((tmp_path / "wheels").iterdir())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv/bin/python")
    install = ["--python", python, "install", "--no-index", "--find-links", str(wheel.parent), "alpha"]
    subprocess.run([*pip, *install], check=True, capture_output=True)

    asked = ("--python", python, "--format", "pylock")
    assert run(*asked) == 2
    assert "alpha 1.0" in capsys.readouterr().err
    assert run(*asked, "--wheels", str(wheel.parent)) == 0
    lock = Pylock.from_dict(tomllib.loads(capsys.readouterr().out))
    assert lock.packages[0].wheels is not None
    assert lock.packages[0].wheels[0].name == wheel.name

    (source / "alpha.py").write_text("x = 2\n")
    wheel.unlink()
    subprocess.run([*pip, *build, str(wheel.parent)], check=True, capture_output=True)
    assert run(*asked, "--wheels", str(wheel.parent)) == 2
    capsys.readouterr()


def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cyclonedx'] = None\n"
        "from envcheck.cli import envcheck, run_cli\n"
        "sys.exit(run_cli(envcheck, ['capture', '--section', 'packages', '--format', 'cyclonedx']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "envcheck[sbom]" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "/no/such/model"], "the model /no/such/model can't be read"),
        (["--unit", "a b"], "no name of a service"),
        (["--unit", "no-such-unit-here"], "no unit no-such-unit-here.service"),
        (["--unit", "app", "--env-file", "/etc/hostname"], "can't be combined"),
        (["--container", "-x"], "container"),
        (["--format", "spdx"], "'spdx'"),
        (["--format", "cyclonedx", "--json"], "can't be combined"),
        (["--format", "requirements", "--section", "cpu"], "section packages"),
        (["--wheels", "/tmp"], "--wheels is for"),
        (["--format", "pylock", "--wheels", "/no/such/folder"], "no wheel in /no/such/folder"),
    ],
)
def test_bad_input(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_an_interpreter_that_is_not_in_the_image(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--root", str(image), "--python", "/usr/bin/python3") == 2
    assert "there is no Python /usr/bin/python3 below" in capsys.readouterr().err
    assert run("--root", str(image), "--python", "venv/bin/python") == 2
    assert "absolute" in capsys.readouterr().err
    assert run("--root", str(image), "--unit", "other") == 2
    assert "no unit other.service below" in capsys.readouterr().err


def test_a_list_of_what_could_not_be_read_is_unknown(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--root", str(image), "--format", "requirements") == 3
    assert "could not be told" in capsys.readouterr().err
