"""The lab's part for CI: each fault that an x86-64 machine can have is found, nothing healthy is blocked."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tools import missing, need

LAB = Path(__file__).parents[2] / "scripts" / "lab" / "run.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Run `run.py --ci` once; the cells of Pythons that this machine does not have are left out."""
    if platform.machine() != "x86_64":
        missing("the lab's part for CI needs an x86-64 machine")
    need("qemu-x86_64-static")
    folder = tmp_path_factory.mktemp("lab")
    done = subprocess.run([sys.executable, LAB, "--ci", "-o", folder], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads((folder / "lab.json").read_text())
    return [cell for cell in found if not cell["unavailable"]]


def of(cells: list[dict[str, Any]], *truths: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for cell in cells:
        if cell["truth"] in truths:
            yield f"{cell['case']} | {cell['variant']} | {cell['environment']}", cell


def test_no_healthy_cell_is_blocked(cells: list[dict[str, Any]]) -> None:
    healthy = dict(of(cells, "healthy"))
    assert {title: cell["findings"] for title, cell in healthy.items() if cell["verdict"] != "pass"} == {}
    environments = {cell["environment"] for cell in healthy.values()}
    assert {"haswell", "nehalem"} < environments
    assert {cell["variant"] for cell in healthy.values()} >= {"cnn-float", "transformer-qdq"}


def test_every_planted_fault_is_found(cells: list[dict[str, Any]]) -> None:
    planted = dict(of(cells, "fault", "told", "refusal"))
    assert {title: cell["verdict"] for title, cell in planted.items() if not cell["found"]} == {}
    assert len({cell["case"] for cell in planted.values()}) >= 25


def test_every_cause_is_named(cells: list[dict[str, Any]]) -> None:
    planted = dict(of(cells, "fault", "told", "refusal"))
    assert {title: cell["cause"] for title, cell in planted.items() if cell["cause"] != "named"} == {}


def test_what_is_below_the_noise_floor_is_not_claimed_to_be_found(cells: list[dict[str, Any]]) -> None:
    faint = [cell for _, cell in of(cells, "below") if "1e-07" in cell["case"]]
    assert faint
    assert {cell["verdict"] for cell in faint} == {"pass"}
