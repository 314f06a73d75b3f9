from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.installed import Venv, asked, site_of
from support.interpreter_answers import told

from envcheck.facts import onnxruntime
from envcheck.facts.host import Host
from envcheck.facts.interpreter import Distribution, Interpreter
from envcheck.facts.onnxruntime import onnxruntime_facts, parse_assignments, parse_providers
from envcheck.facts.section import Scene, Unavailable

INIT = "onnxruntime/__init__.py"
BUILD = "onnxruntime/capi/build_and_package_info.py"


def flavour(name: str, version: str) -> Distribution:
    return Distribution(
        folder="/site",
        file=f"{name.replace('-', '_')}-{version}.dist-info",
        kind="dist-info",
        metadata=f"Name: {name}\nVersion: {version}",
        build="b",
        owns=["onnxruntime"],
    )


def installed(
    *flavours: Distribution, version: str = "", package: str = "", libraries: str = ""
) -> Interpreter:
    files = {
        INIT: f'__version__ = "{version}"\n',
        BUILD: f"package_name = '{package}'\ncuda_version = '12.8'\n",
    }
    return msgspec.structs.replace(
        told(),
        distributions=list(flavours),
        files=files if version else {},
        folders={"onnxruntime/capi": libraries.split()},
    )


def test_one_healthy_flavour() -> None:
    facts = onnxruntime_facts(
        installed(
            flavour("onnxruntime-gpu", "1.23.2"),
            version="1.23.2",
            package="onnxruntime-gpu",
            libraries="libonnxruntime_providers_cuda.so libonnxruntime_providers_shared.so x.py "
            "libonnxruntime_providers_tensorrt.so",
        )
    )
    assert facts.flavours == {"onnxruntime-gpu": "1.23.2"}
    assert facts.providers == ["cuda", "tensorrt"]
    assert facts.cuda == "12.8"
    assert facts.conflicts == []


def test_two_flavours_conflict_and_the_files_tell_which_one_won() -> None:
    facts = onnxruntime_facts(
        installed(
            flavour("onnxruntime", "1.22.0"),
            flavour("onnxruntime-gpu", "1.23.2"),
            version="1.22.0",
            package="onnxruntime",
        )
    )
    assert facts.version == "1.22.0"
    assert facts.conflicts == ["onnxruntime and onnxruntime-gpu overwrite each other's files"]


def test_files_of_another_version_than_the_metadata() -> None:
    facts = onnxruntime_facts(
        installed(flavour("onnxruntime", "1.22.0"), version="1.23.2", package="onnxruntime")
    )
    assert facts.conflicts == ["the files are of version 1.23.2, the metadata says 1.22.0"]


def test_files_of_a_flavour_that_is_no_longer_installed() -> None:
    facts = onnxruntime_facts(
        installed(flavour("onnxruntime", "1.22.0"), version="1.22.0", package="onnxruntime-gpu")
    )
    assert "the files are of onnxruntime-gpu" in facts.conflicts[0]


def test_a_module_that_nobody_owns() -> None:
    assert onnxruntime_facts(installed(version="1.22.0")).conflicts


def laid_out(venv: Venv, folder: Path, *files: str) -> str:
    """A virtual environment with the module, and metadata as installers other than pip leave it."""
    python = venv(folder / "venv")
    for name in files:
        path = site_of(python) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stem, _, file = name.partition("/")
        title, version = stem.rpartition(".")[0].split("-")
        metadata = f"Name: {title.replace('_', '-')}\nVersion: {version}\n"
        path.write_text(metadata if file in ("", "METADATA", "PKG-INFO") else "")
    return python


def with_module(folder: Path, version: str = "1.21.0") -> None:
    (folder / "onnxruntime/capi").mkdir(parents=True)
    (folder / "onnxruntime/__init__.py").write_text(f'__version__ = "{version}"\n')


DEBIAN = "onnxruntime-1.21.0.dist-info/METADATA"


@pytest.mark.parametrize(
    "metadata",
    [DEBIAN, "onnxruntime-1.21.0.egg-info/PKG-INFO", "onnxruntime-1.21.0.egg-info"],
    ids=["system package", "egg-info folder", "egg-info file"],
)
def test_what_left_no_record_owns_the_module_by_its_name(tmp_path: Path, venv: Venv, metadata: str) -> None:
    """And what only begins with the same name does not."""
    beside = ("extensions", "genai_cuda", "tools", "ep_openvino")
    others = [f"onnxruntime_{name}-0.9.0.dist-info/METADATA" for name in beside]
    python = laid_out(venv, tmp_path, metadata, *others)
    with_module(site_of(python))
    found = asked(python).sections["onnxruntime"]
    assert (found.status, found.shared["version"]) == ("ok", "1.21.0")
    assert found.shared["flavours"] == {"onnxruntime": "1.21.0"}
    assert "conflicts" not in found.shared


def test_an_editable_one_owns_the_module_by_its_name(tmp_path: Path, venv: Venv) -> None:
    python = laid_out(venv, tmp_path, DEBIAN)
    site = site_of(python)
    info = site / "onnxruntime-1.21.0.dist-info"
    (info / "direct_url.json").write_text('{"url": "file:///src", "dir_info": {"editable": true}}')
    (info / "RECORD").write_text("__editable__.onnxruntime-1.21.0.pth,sha256=abc,9\n")
    (site / "__editable__.onnxruntime-1.21.0.pth").write_text(f"{tmp_path / 'src'}\n")
    # A finder of its own may lead to the module, which then lies nowhere on the search path.
    found = asked(python).sections["onnxruntime"].shared
    assert (found["flavours"], "conflicts" in found) == ({"onnxruntime": "1.21.0"}, False)
    with_module(tmp_path / "src")
    found = asked(python).sections["onnxruntime"].shared
    assert (found["version"], found["flavours"]) == ("1.21.0", {"onnxruntime": "1.21.0"})
    assert "conflicts" not in found


def test_two_flavours_conflict_also_where_one_left_no_record(tmp_path: Path, venv: Venv) -> None:
    python = laid_out(venv, tmp_path, "onnxruntime-1.21.0.dist-info/METADATA",
                      "onnxruntime_gpu-1.21.0.dist-info/METADATA")  # fmt: skip
    site = site_of(python)
    with_module(site)
    (site / "onnxruntime-1.21.0.dist-info/RECORD").write_text("onnxruntime/__init__.py,sha256=abc,1\n")
    found = asked(python).sections["onnxruntime"].shared
    assert found["flavours"] == {"onnxruntime": "1.21.0", "onnxruntime-gpu": "1.21.0"}
    assert found["conflicts"] == ["onnxruntime and onnxruntime-gpu overwrite each other's files"]
    (tmp_path / "other").mkdir()
    (site / "onnxruntime_gpu-1.21.0.dist-info").rename(tmp_path / "other/onnxruntime_gpu-1.21.0.dist-info")
    (site / "other.pth").write_text(f"{tmp_path / 'other'}\n")
    (conflict,) = asked(python).sections["onnxruntime"].shared["conflicts"]
    assert conflict.startswith("onnxruntime and onnxruntime-gpu are installed at once")


def test_metadata_without_a_module_is_no_onnxruntime(tmp_path: Path, venv: Venv) -> None:
    python = laid_out(venv, tmp_path, DEBIAN)
    assert asked(python).sections["onnxruntime"].status == "absent"


def test_absent_is_told_as_absent(scene: Callable[..., Scene]) -> None:
    with pytest.raises(Unavailable, match="not installed") as caught:
        onnxruntime.gather(scene(Host(), told()))
    assert caught.value.status == "absent"


@given(st.text(max_size=300))
def test_any_source_is_read(source: str) -> None:
    assert all("\n" not in value for value in parse_assignments(source).values())


@given(st.lists(st.text(max_size=60)))
def test_any_names_are_read(names: list[str]) -> None:
    assert "shared" not in parse_providers(names)
