"""conda, zips and trees: what only some interpreters have."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import probe
from envcheck.facts.host import inside as resolve_inside
from envcheck.facts.probe_more import conda, inside, site_path, zipped

# As conda 24 writes it, shortened; keys in its order.
META = {
    "build": "py311h24aa872_0",
    "build_number": 0,
    "channel": "https://user:s3cr3t@conda.example/t/tk-1234/pkgs/main/linux-64",
    "constrains": [],
    "depends": ["python >=3.11", 'quoted "channel": "no"'],
    "files": [
        "lib/python3.11/site-packages/numpy-1.26.4.dist-info/METADATA",
        "lib/python3.11/site-packages/numpy-1.26.4.dist-info/RECORD",
        "lib/python3.11/site-packages/numpy/__init__.py",
    ],
    "name": "numpy",
    "subdir": "linux-64",
    "version": "1.26.4",
}


def test_conda_meta() -> None:
    told = conda("numpy-1.26.4-py311h24aa872_0.json", json.dumps(META, indent=2).encode())
    assert told == {
        "name": "numpy",
        "version": "1.26.4",
        "build": "py311h24aa872_0",
        "channel": META["channel"],
        "subdir": "linux-64",
        "distributions": ["numpy-1.26.4"],
    }


def test_a_key_within_a_text_is_none() -> None:
    told = conda(
        "a-1-0.json", json.dumps({"depends": ['"channel": "no"', "channel"], "channel": "yes"}).encode()
    )
    assert told["channel"] == "yes"


@given(st.text(max_size=30), st.binary(max_size=400), st.integers(0, 400))
def test_any_conda_meta_is_told(name: str, noise: bytes, cut: int) -> None:
    for document in (noise, json.dumps(META).encode()[:cut]):
        told = conda(f"{name}.json", document)
        assert isinstance(told["channel"], str)
        assert isinstance(told["distributions"], list)


def egg(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_zipped_egg_has_an_identity_of_its_members(tmp_path: Path) -> None:
    files = {"EGG-INFO/PKG-INFO": "Name: alpha\nVersion: 1.0\n", "alpha.py": "x = 1\n", "alpha.pyc": "noise"}
    path = egg(tmp_path / "alpha-1.0-py3.11.egg", files)
    again = egg(tmp_path / "again.egg", {**files, "alpha.pyc": "other noise"})
    other = egg(tmp_path / "other.egg", {**files, "alpha.py": "x = 2\n"})
    told = [zipped(str(item), "/f", probe.identity)[0] for item in (path, again, other)]
    assert told[0]["metadata"] == files["EGG-INFO/PKG-INFO"]
    assert (told[0]["kind"], told[0]["zipped"], told[0]["file"]) == ("egg", True, "alpha-1.0-py3.11.egg")
    assert told[0]["build"] == told[1]["build"] != told[2]["build"]


def test_a_zip_without_distributions_and_one_that_is_damaged(tmp_path: Path) -> None:
    assert zipped(str(egg(tmp_path / "lib.zip", {"a.py": ""})), "/f", probe.identity) == []
    broken = tmp_path / "broken.egg"
    broken.write_bytes(b"PK\x05\x06 no zip")
    assert zipped(str(broken), "/f", probe.identity)[0]["damaged"] == "BadZipFile"


def whole_egg() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("EGG-INFO/PKG-INFO", "Name: a\nVersion: 1\n" * 20)
    return written.getvalue()


EGG = whole_egg()


@given(st.integers(0, len(EGG) - 1), st.integers(0, 255), st.booleans())
def test_any_zip_is_told(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "any.egg"
    path.write_bytes(EGG[:at] if cut else EGG[:at] + bytes([byte]) + EGG[at + 1 :])
    for told in zipped(str(path), "/f", probe.identity):
        assert told["folder"] == "/f"


def test_links_of_a_tree_lead_nowhere_outside(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("x")
    (tmp_path / "link").symlink_to("/etc/real")
    (tmp_path / "up").symlink_to("../../../etc/real")
    (tmp_path / "loop").symlink_to("loop")
    resolve = inside(str(tmp_path))
    assert resolve("/link") == resolve("/up") == str(tmp_path / "etc/real")
    with pytest.raises(OSError, match="loop"):
        resolve("/loop")


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "link"]), max_size=8))
def test_the_probe_and_the_host_resolve_alike(parts: list[str]) -> None:
    path = "/".join(parts)
    assert inside("/nonexistent")(path) == resolve_inside("/nonexistent", path)


def test_pth_files_add_folders_as_site_does(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "inner").mkdir(parents=True)
    (tmp_path / "outer").mkdir()
    (site / "a.pth").write_text(f"# comment\ninner\nimport os\n{tmp_path / 'outer'}\nnot-there\n\n")
    (site / ".hidden.pth").write_text("inner2\n")

    def read(path: str, limit: int) -> bytes:
        return Path(path).read_bytes()[:limit]

    found = site_path(["/first"], [str(site)], read, os.path.join)
    assert found == ["/first", str(site), str(site / "inner"), str(tmp_path / "outer")]
