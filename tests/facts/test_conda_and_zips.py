"""A conda environment, and zips on the search path, in real interpreters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.installed import Venv, Wheel, asked, packages, site_of

CONDA = {
    "numpy-1.26.4-py311_mkl_0.json": {
        "build": "py311_mkl_0",
        "channel": "https://conda.example/t/tk-s3cr3t/main/linux-64",
        "files": ["lib/python3.11/site-packages/numpy-1.26.4.dist-info/METADATA"],
        "subdir": "linux-64",
    },
    "pytorch-2.3.0-cpu_0.json": {
        "build": "cpu_0",
        "channel": "https://u:s3cr3t@conda.example/pytorch",
        "files": ["lib/python3.11/site-packages/torch-2.3.0.dist-info/RECORD"],
    },
    "mkl-2023.1.0-h213fc3f_46344.json": {"build": "h213fc3f_46344", "channel": "conda-forge", "files": []},
    "history": {},
    "broken-1.0-0.json": None,
}


def test_a_conda_environment(tmp_path: Path) -> None:
    """A prefix as conda lays it out: its own python with conda-meta beside."""
    prefix = tmp_path / "env"
    base = Path(os.path.realpath(sys.executable))
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if "deb_system" in sysconfig.get_scheme_names():
        pytest.skip("Debian's own Python has no site-packages, whatever its prefix: conda's has")
    (prefix / "bin").mkdir(parents=True)
    shutil.copy2(base, prefix / "bin/python")
    (prefix / "lib" / library).mkdir(parents=True)
    for item in (base.parents[1] / "lib" / library).iterdir():
        if item.name != "site-packages":
            (prefix / "lib" / library / item.name).symlink_to(item)
    for item in (base.parents[1] / "lib").glob("libpython*"):
        (prefix / "lib" / item.name).symlink_to(item)
    site = prefix / "lib" / library / "site-packages"
    for name, version in (("numpy", "1.26.4"), ("torch", "2.3.0")):
        (site / f"{name}-{version}.dist-info").mkdir(parents=True)
        (site / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (site / f"{name}-{version}.dist-info/INSTALLER").write_text("conda")
    (prefix / "conda-meta").mkdir()
    for file, meta in CONDA.items():
        (prefix / "conda-meta" / file).write_text("{ broken" if meta is None else json.dumps(meta))

    found = asked(prefix / "bin/python")
    assert found.sections["python"].shared["environment"] == "conda"
    told = packages(found)
    assert told["numpy"]["conda"] == {
        "build": "py311_mkl_0", "channel": "https://conda.example/main/linux-64", "subdir": "linux-64",
    }  # fmt: skip
    # conda calls it by another name; the file that it installed tells.
    assert told["torch"]["conda"] == {"build": "cpu_0", "channel": "https://conda.example/pytorch"}
    assert "pytorch" not in told
    assert told["mkl"] == {
        "version": "2023.1.0", "kind": "conda",
        "conda": {"build": "h213fc3f_46344", "channel": "conda-forge"},
    }  # fmt: skip
    assert told["broken"]["version"] == "1.0"
    assert "s3cr3t" not in repr(found)


def test_zips_on_the_path(tmp_path: Path, wheel: Wheel, venv: Venv) -> None:
    python = venv(tmp_path / "venv")
    made = wheel(tmp_path / "w", "alpha", "1.0")
    egg = tmp_path / "beta-2.0-py3.11.egg"
    shutil.make_archive(str(tmp_path / "beta"), "zip", _egg_folder(tmp_path / "beta-egg"))
    (tmp_path / "beta.zip").rename(egg)
    (tmp_path / "broken.egg").write_bytes(b"PK no zip")
    (site_of(python) / "zips.pth").write_text(f"{made}\n{egg}\n{tmp_path / 'broken.egg'}\n")
    code = "import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
    real = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    found = asked(python)
    told = packages(found)
    assert [told[name]["version"] for name in ("alpha", "beta")] == ["1.0", "2.0"]
    assert told["alpha"]["zipped"]
    assert told["alpha"]["tags"] == ["py3-none-any"]
    assert told["beta"]["kind"] == "egg"
    assert told["broken"]["broken"] == "it is no zip that can be read"
    assert found.sections["python"].shared["path_files"] == ["zips.pth"]
    assert "('alpha', '1.0'), ('beta', '2.0')" in real.stdout
    # The same wheel, installed, is the same build.
    installed = packages(asked(venv(tmp_path / "other", made)))
    assert installed["alpha"]["build"] == told["alpha"]["build"]


def _egg_folder(folder: Path) -> Path:
    (folder / "EGG-INFO").mkdir(parents=True)
    (folder / "EGG-INFO/PKG-INFO").write_text("Metadata-Version: 1.0\nName: beta\nVersion: 2.0\n")
    (folder / "beta.py").write_text("x = 1\n")
    return folder
