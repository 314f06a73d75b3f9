from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
