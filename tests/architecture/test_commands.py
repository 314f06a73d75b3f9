"""Every command of the table exists, and its help says what the table says, with an example."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from envcheck.cli import COMMANDS, envcheck, run_cli
from envcheck_server.cli import COMMANDS as SERVER_COMMANDS
from envcheck_server.cli import envcheck_server

TABLES = [
    *((envcheck, name, line) for name, line in COMMANDS.items()),
    *((envcheck_server, name, line) for name, line in SERVER_COMMANDS.items()),
]


def named(group: click.Group, name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, by what one types."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from leaves(named(command, name), f"{path} {name}")
    else:
        yield path, command


LEAVES = dict([*leaves(envcheck, "envcheck"), *leaves(envcheck_server, "envcheck-server")])
every_leaf = pytest.mark.parametrize("path", LEAVES)


def help_of(command: click.Group, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert run_cli(command, [*arguments, "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("group", "name", "line"), TABLES, ids=lambda value: str(value)[:40])
def test_a_command_says_of_itself_what_the_table_says(
    group: click.Group, name: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = named(group, name)
    assert command.name == name
    assert (command.help or "").splitlines()[0] == line
    assert help_of(group, [name], capsys)[2].strip() == line
    assert line[0].isupper()
    assert line.endswith(".")


@every_leaf
def test_help_has_an_example_to_type(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *names = path.split()
    shown = help_of({"envcheck": envcheck, "envcheck-server": envcheck_server}[program], names, capsys)
    examples = shown[shown.index("  Examples:") + 1 :] if "  Examples:" in shown else shown[2:]
    assert [line for line in examples if path in line], f"{path} --help shows no example"


@every_leaf
def test_every_option_is_explained(path: str) -> None:
    silent = [
        parameter.name
        for parameter in LEAVES[path].params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert silent == []


def test_every_command_of_the_design_is_there() -> None:
    agent = {path.removeprefix("envcheck ") for path in LEAVES if path.startswith("envcheck ")}
    assert agent >= {
        *("capture", "key create", "baseline create", "baseline show", "baseline verify", "baseline sign"),
        *("smoke", "diff", "check", "enroll", "report", "push", "gate"),
    }
    server = {path.removeprefix("envcheck-server ") for path in LEAVES if path.startswith("envcheck-server ")}
    assert server >= {
        "serve",
        "migrate",
        "token create",
        "token revoke",
        "token list",
        "device list",
        "release retire",
    }
