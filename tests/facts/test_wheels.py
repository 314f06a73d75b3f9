"""Wheels are recognised in what was installed from them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.installed import Venv, Wheel, asked, packages

from envcheck.errors import BadInput
from envcheck.facts.probe import identity
from envcheck.facts.probe_more import as_installed
from envcheck.facts.wheels import read_wheels

INFO = "alpha-1.0.dist-info"
PARTS = {
    "alpha.py": "x = 1\n",
    "alpha-1.0.data/purelib/beside/alpha.py": "x = 2\n",
    "alpha-1.0.data/platlib/alpha_more.py": "x = 3\n",
    "alpha-1.0.data/scripts/alpha": "#!python\nprint(1)\n",
    "alpha-1.0.data/data/share/alpha.txt": "text\n",
    "alpha-1.0.data/headers/alpha.h": "int x;\n",
    "alpha/_vendor/beta-2.0.dist-info/METADATA": "Name: beta\nVersion: 2.0\n",
    "alpha/_vendor/beta-2.0.dist-info/RECORD": "beta.py,sha256=abc,1\n",
}


def made(folder: Path, parts: Mapping[str, str]) -> Path:
    """A wheel with files wherever a wheel may have them, and a correct RECORD."""
    files = {
        **parts,
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_hash(text)},{len(text)}" for path, text in files.items()]
    files[f"{INFO}/RECORD"] = "\n".join([*rows, f"{INFO}/RECORD,,"]) + "\n"
    folder.mkdir()
    path = folder / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def test_a_wheel_is_recognised_wherever_its_files_go(tmp_path: Path, venv: Venv) -> None:
    path = made(tmp_path / "wheels", PARTS)
    installed = packages(asked(venv(tmp_path / "venv", path)))["alpha"]
    wheels = read_wheels(str(path.parent))
    assert wheels[installed["build"]].file == path.name
    assert wheels[installed["build"]].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_wheel_on_the_path_is_the_build_that_it_installs(tmp_path: Path, venv: Venv) -> None:
    path = made(tmp_path / "wheels", PARTS)
    zipped = packages(asked(venv(tmp_path / "one"), {"PYTHONPATH": str(path)}))["alpha"]
    installed = packages(asked(venv(tmp_path / "two", path)))["alpha"]
    assert zipped["zipped"]
    assert zipped["build"] == installed["build"]


def test_another_build_is_not_recognised(tmp_path: Path, venv: Venv, wheel: Wheel) -> None:
    path = made(tmp_path / "wheels", PARTS)
    other = made(tmp_path / "others", {**PARTS, "alpha-1.0.data/purelib/beside/alpha.py": "x = 9\n"})
    assert packages(asked(venv(tmp_path / "venv", other)))["alpha"]["build"] not in read_wheels(
        str(path.parent)
    )


def test_a_folder_without_wheels_and_a_damaged_wheel(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no wheel in"):
        read_wheels(str(tmp_path))
    (tmp_path / "alpha-1.0-py3-none-any.whl").write_bytes(b"PK no zip")
    with pytest.raises(BadInput, match=r"alpha-1\.0-py3-none-any\.whl can't be read"):
        read_wheels(str(tmp_path))


@given(st.binary(max_size=200))
def test_any_record_is_read(noise: bytes) -> None:
    record = noise + b"alpha-1.0.data/purelib/x.py,sha256=abc,1\n"
    assert isinstance(identity(as_installed(record, INFO), INFO), str)
    assert as_installed(noise.replace(b".data/", b""), INFO) == noise.replace(b".data/", b"")
