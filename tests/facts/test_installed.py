"""Packages of every kind, really installed, in real interpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.installed import Venv, Wheel, asked, packages, pip, site_of
from support.interpreters import interpreters
from support.projects import make_project
from support.tools import missing


def python_of_all() -> str:
    """A Python that every user may run: those of one user's own folder are out of reach."""
    for python in [Path("/usr/bin/python3"), *interpreters().values()]:
        if not python.exists():
            continue
        real = python.resolve()
        if all(folder.stat().st_mode & 1 for folder in real.parents):
            return str(python)
    missing("no Python that every user may run is here")
    return ""


@pytest.mark.parametrize("editable", [True, False])
def test_local_and_editable_installations(tmp_path: Path, venv: Venv, editable: bool) -> None:
    python = venv(tmp_path / "venv")
    source = make_project(tmp_path / "source", "gamma", "3.0")
    options = ["--no-build-isolation", "--no-deps", "--no-index", *(["-e"] if editable else [])]
    pip(python, "install", *options, str(source))
    found = asked(python)
    told = packages(found)["gamma"]
    assert told["version"] == "3.0"
    assert told["source"] == {"kind": "editable" if editable else "local"}
    assert bool(told.get("build")) is not editable
    assert found.sections["packages"].device["sources"] == {"gamma": f"file://{source}"}


def test_what_came_from_an_index_and_who_installed_it(tmp_path: Path, venv: Venv, wheel: Wheel) -> None:
    """An index leaves no trace: what has no source came from one."""
    python = venv(tmp_path / "venv")
    named, given = wheel(tmp_path / "index", "alpha", "1.0"), wheel(tmp_path / "w", "beta", "2.0")
    pip(python, "install", "--no-index", "--find-links", str(named.parent), "alpha", str(given))
    told = packages(asked(python))
    assert (told["alpha"]["installer"], told["beta"]["installer"]) == ("pip", "pip")
    assert "source" not in told["alpha"]
    assert told["beta"]["source"]["kind"] == "local"
    (site_of(python) / "alpha-1.0.dist-info/INSTALLER").write_text("uv 0.8.1\n")
    assert packages(asked(python))["alpha"]["installer"] == "uv 0.8.1"


def test_what_came_from_version_control(tmp_path: Path, venv: Venv, wheel: Wheel) -> None:
    python = venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0"))
    info = site_of(python) / "alpha-1.0.dist-info"
    (info / "direct_url.json").write_text(json.dumps({
        "url": "https://me:s3cr3t@git.example/alpha.git", "subdirectory": "python",
        "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "c0ffee"},
    }))  # fmt: skip
    found = asked(python)
    assert packages(found)["alpha"]["source"] == {
        "kind": "vcs", "vcs": "git", "url": "https://git.example/alpha.git", "commit": "c0ffee",
        "revision": "main", "subdirectory": "python",
    }  # fmt: skip
    assert "s3cr3t" not in repr(found)


def test_vendored_copies_are_marked_and_no_packages(tmp_path: Path, venv: Venv, wheel: Wheel) -> None:
    python = venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0"))
    site = site_of(python)
    for owner, name in (("alpha", "packaging-24.2"), ("other", "tomli-2.0.1"), ("nobody", "attrs-1.0")):
        (site / owner / "_vendor" / f"{name}.dist-info").mkdir(parents=True)
    with (site / "alpha-1.0.dist-info/RECORD").open("a") as record:
        record.write("other/_vendor/tomli.py,sha256=abc,1\n")
    told = packages(asked(python))
    assert told["alpha"]["vendored"] == {"packaging": "24.2", "tomli": "2.0.1"}
    assert set(told) == {"alpha"}


def test_vendored_copies_of_what_is_installed_here() -> None:
    told = packages(asked(sys.executable))
    for folder in site_of(sys.executable).glob("*/_vendor"):
        inside = {item.name.partition("-")[0].lower() for item in folder.glob("*.dist-info")}
        named = {name.replace("-", "_") for name in told[folder.parent.name].get("vendored", {})}
        assert {name.replace(".", "_") for name in inside} == named


def test_the_user_site_is_marked(tmp_path: Path, wheel: Wheel) -> None:
    base = os.path.realpath(sys.executable)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = tmp_path / f"lib/{version}/site-packages"
    pip(
        base,
        "install",
        "--no-index",
        "--no-deps",
        "--target",
        str(site),
        str(wheel(tmp_path / "w", "alpha", "1")),
    )
    environ = {"PYTHONUSERBASE": str(tmp_path)}
    found = asked(base, environ)
    assert packages(found)["alpha"]["user_site"]
    assert found.sections["python"].shared["user_site"]
    assert found.sections["python"].device["user_folder"] == str(site)
    assert "alpha" not in packages(asked(base))


def test_site_configuration(tmp_path: Path, venv: Venv) -> None:
    python = venv(tmp_path / "venv")
    site = site_of(python)
    (site / "sitecustomize.py").write_text("")
    (site / "hook.pth").write_text("import os\n")
    (site / "both.pth").write_text(f"import os\n{tmp_path}\n")
    python_section = asked(python, {"PYTHONPATH": str(tmp_path)}).sections["python"].shared
    assert python_section["hooks"] == ["both.pth", "hook.pth"]
    assert python_section["path_files"] == ["both.pth"]
    assert python_section["customised"] == ["sitecustomize"]
    assert python_section["pythonpath"]
    assert "system_site" not in python_section
    config = tmp_path / "venv/pyvenv.cfg"
    config.write_text(config.read_text().replace("= false", "= true"))
    assert asked(python).sections["python"].shared["system_site"]


def test_what_may_not_be_read_is_told_and_all_else_too(
    open_folder: Path, wheel: Wheel, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    extra = open_folder / "extra"
    extra.mkdir()
    command = [python_of_all(), "-m", "venv", "--without-pip", str(open_folder / "venv")]
    subprocess.run(command, check=True)
    python = str(open_folder / "venv/bin/python")
    pip(python, "install", "--no-index", *(str(wheel(open_folder / "w", n, "1")) for n in ("alpha", "beta")))
    (site_of(python) / "extra.pth").write_text(f"{extra}\n")
    record = site_of(python) / "alpha-1.dist-info/RECORD"
    metadata = site_of(python) / "beta-1.dist-info/METADATA"
    record.chmod(0)
    metadata.chmod(0)
    with unprivileged():
        found = asked(python)
    told = packages(found)
    assert told["alpha"]["broken"] == "its RECORD may not be read"
    assert told["beta"]["broken"] == "its METADATA may not be read"
    assert told["beta"]["version"] == "1"
    extra.chmod(0)
    with unprivileged():
        found = asked(python)
    section = found.sections["packages"]
    assert (section.status, section.reason) == (
        "unreadable", "1 of the folders to import from may not be read",
    )  # fmt: skip
    assert set(section.shared) == {"alpha", "beta"}
    assert found.sections["python"].status == "ok"
    extra.chmod(0o755)


def test_a_folder_in_the_place_of_metadata_is_no_refusal(tmp_path: Path, venv: Venv) -> None:
    python = venv(tmp_path / "venv")
    (site_of(python) / "alpha-1.0.dist-info/METADATA").mkdir(parents=True)
    found = asked(python)
    assert packages(found)["alpha"]["broken"] == "it has no metadata"
    assert not found.sections["packages"].device.get("unreadable")
