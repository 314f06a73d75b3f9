"""The interpreters that serve models: every Python, old runtimes, none, and one that is short of memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from support.interpreters import interpreters, newest_onnxruntime, venv_with

from envcheck.contract.bundle import Bundle
from envcheck.contract.evidence import Smoke
from envcheck.facts.host import Target
from envcheck.smoke.run import run_smoke


def smoke(bundle: Bundle, **options: Any) -> Smoke:
    return run_smoke(bundle, options.pop("target", Target()), fingerprint="f" * 64, **options)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_every_python_with_the_newest_onnxruntime_it_can_have(digits: Bundle, version: str) -> None:
    if version not in interpreters():
        pytest.skip(f"there is no Python {version} here")
    requirement = newest_onnxruntime(version)
    python = venv_with(interpreters()[version], [requirement])
    found = smoke(digits, target=Target(str(python))).evidence
    assert (found.ending.status, found.repeatable, found.accuracy) == ("ok", True, 1.0)
    assert f"onnxruntime=={found.runtime.onnxruntime}" == requirement
    assert found.runtime.python.startswith(version + ".")
    assert found.placement.source == ("profile" if version in ("3.8", "3.9", "3.10") else "assignment")
    assert found.placement.nodes == {"CPUExecutionProvider": {"MatMul": 1, "Softmax": 1}}
    assert (found.outputs["y"].rmse or 1) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.10", "3.12"])
def test_a_python_without_onnxruntime_is_told_what_to_install(digits: Bundle, version: str) -> None:
    if version not in interpreters():
        pytest.skip(f"there is no Python {version} here")
    python = venv_with(interpreters()[version], [])
    ending = smoke(digits, target=Target(str(python))).evidence.ending
    pinned = {"3.8": "'onnxruntime==1.19.2'", "3.10": "'onnxruntime==1.23.2'", "3.12": "onnxruntime"}
    assert (ending.status, ending.stage, ending.reason) == (
        "error",
        "import",
        "this interpreter has no onnxruntime",
    )
    assert ending.hint.startswith(f"install it there: python -m pip install {pinned[version]}")


@pytest.mark.slow
def test_the_oldest_supported_onnxruntime_works(digits: Bundle) -> None:
    if "3.8" not in interpreters():
        pytest.skip("there is no Python 3.8 here")
    python = venv_with(interpreters()["3.8"], ["onnxruntime==1.16.0"])
    found = smoke(digits, target=Target(str(python))).evidence
    assert (found.ending.status, found.placement.source) == ("ok", "profile")


@pytest.mark.parametrize("kilobytes", [60_000, 80_000, 100_000])
def test_a_limited_address_space_is_named_however_the_libraries_end(
    digits: Bundle, wrapper: Callable[[str], str], kilobytes: int
) -> None:
    """numpy and onnxruntime end in a segmentation fault, an abort or status 1 there, as it happens."""
    script = f'ulimit -v {kilobytes}; exec {sys.executable} "$@"'
    ending = smoke(digits, target=Target(wrapper(script))).evidence.ending
    assert ending.status == "memory", ending
    assert "memory" in ending.reason or f"{kilobytes // 1024} MiB" in ending.reason
    assert ending.hint
