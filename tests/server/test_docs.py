"""The collector's documents hold every setting, route, scope and command, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from envcheck_server.api.openapi import describe
from envcheck_server.api.problems import _STATUSES
from envcheck_server.cli import COMMANDS, envcheck_server
from envcheck_server.settings import SETTINGS
from envcheck_server.store.values import Scope

DOCS = Path(__file__).parents[2] / "docs"
COLLECTOR = (DOCS / "collector.md").read_text(encoding="utf-8")
WIRE = (DOCS / "wire.md").read_text(encoding="utf-8")


def test_every_setting_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", COLLECTOR, re.MULTILINE)
    assert rows == [(one.name, str(one.default), one.metadata["help"]) for one in SETTINGS]


def test_every_route_is_documented() -> None:
    written = set(re.findall(r"^\| `(GET|PUT|POST) (/[^`]*)`", WIRE, re.MULTILINE))
    served = {
        (method.upper(), path) for path, operations in describe()["paths"].items() for method in operations
    }
    assert written == served


def test_every_status_is_documented() -> None:
    written = {int(code) for code in re.findall(r"\b([2-5]\d\d)\b", WIRE.partition("## Statuses")[2])}
    assert {status for _, status, _ in _STATUSES} <= written
    assert {400, 405, 500} <= written


@pytest.mark.parametrize("scope", get_args(Scope))
def test_every_scope_is_documented(scope: str) -> None:
    assert f"`{scope}`" in COLLECTOR


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_the_table_of_commands_says(name: str) -> None:
    command = envcheck_server.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert (command.help or "").partition("\n")[0] == COMMANDS[name]
    assert name in COLLECTOR
