"""The units are what systemd understands, and give away no more rights than they must."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.tools import missing, need

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
INSTALLED = "/opt/envcheck/bin/envcheck"
WORST_EXPOSURE = 2.5


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are installed, the program at the place where it is on this machine."""
    program = Path(sys.executable).with_name("envcheck")
    assert program.exists(), "install the project first: pip install -e ."
    for unit in UNITS.glob("envcheck-report.*"):
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(text.replace(INSTALLED, str(program)), encoding="utf-8")
    return tmp_path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def exposure(*arguments: str) -> float:
    found = run(need("systemd-analyze"), "security", "--offline=true", "--no-pager", *arguments)
    if "--offline" in found.stderr:
        missing("this systemd-analyze is older than 250 and knows no --offline")
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", found.stdout)
    assert match, found.stdout + found.stderr
    return float(match.group(1))


def test_systemd_finds_nothing_to_say(units: Path) -> None:
    found = run(
        need("systemd-analyze"),
        "verify",
        str(units / "envcheck-report.service"),
        str(units / "envcheck-report.timer"),
    )
    # It also reads the machine's own units and talks about those.
    said = [line for line in found.stderr.splitlines() if "envcheck" in line]
    assert said == []
    assert found.returncode == 0, found.stderr


def test_the_service_is_exposed_little(units: Path) -> None:
    assert exposure(str(units / "envcheck-report.service")) <= WORST_EXPOSURE


def test_a_gpu_costs_little_exposure(units: Path) -> None:
    service = units / "envcheck-report.service"
    drop_in = (UNITS / "gpu.conf").read_text(encoding="utf-8")
    service.write_text(service.read_text(encoding="utf-8") + drop_in, encoding="utf-8")
    assert exposure(str(service)) <= WORST_EXPOSURE


def test_a_service_without_hardening_would_be_noticed(tmp_path: Path) -> None:
    bare = tmp_path / "envcheck-bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert exposure(str(bare)) > WORST_EXPOSURE


def read(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((UNITS / name).read_text(encoding="utf-8"))
    return parser


def test_it_looks_every_minute_and_asks_whether_it_is_time() -> None:
    timer = read("envcheck-report.timer")["Timer"]
    assert timer["OnCalendar"] == "*:*"
    assert timer["RandomizedDelaySec"] == "1min"
    assert timer["FixedRandomDelay"] == "yes"
    service = read("envcheck-report.service")["Service"]
    assert service["ExecStart"] == f"{INSTALLED} report --if-due"
    # That it was started and ended is no news, 1440 times a day; what it says is.
    assert service["LogLevelMax"] == service["SyslogLevel"] == "notice"


def test_the_service_can_see_what_it_must() -> None:
    service = read("envcheck-report.service")["Service"]
    assert service["User"] == "envcheck"
    assert service["StateDirectory"] == "envcheck"
    # Hidden, these would turn facts into "unreadable" or keep a model from running.
    for hides in (
        "ProcSubset",
        "MemoryDenyWriteExecute",
        "InaccessiblePaths",
        "PrivateNetwork",
        "RootDirectory",
    ):
        assert hides not in service
