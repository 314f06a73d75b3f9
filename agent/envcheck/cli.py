"""The command `envcheck` as click knows it: commands are imported when called."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from envcheck import __version__
from envcheck.contract.text import printable
from envcheck.ending import ended, escape_unshowable, say
from envcheck.errors import EXIT_USAGE

# One line a command: its module under envcheck.commands has its name. The help stands here so that
# `envcheck --help` imports none of them; a test holds it to the command's own.
COMMANDS = {
    "capture": "Describe this machine's inference environment.",
    "key": "Make a release key.",
    "baseline": "Freeze a training environment into a bundle.",
    "smoke": "Run a bundle's model on its golden inputs.",
    "diff": "Compare two environments.",
    "check": "Capture, smoke and judge this machine.",
    "enroll": "Make this device known to a collector.",
    "report": "Capture, smoke and tell the collector.",
    "push": "Give the collector a release.",
    "gate": "Ask the collector whether devices are ready.",
}


class LazyCommands(click.Group):
    """A group that imports a command's module, of that name below `package`, only when it is called."""

    def __init__(self, *, package: str, helps: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._package, self._helps = package, helps

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._helps)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a command, None when there is none of that name."""
        if name not in self._helps:
            return None
        command = getattr(import_module(f"{self._package}.{name}"), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self._package}.{name} holds no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._helps.items()))


@click.group(
    cls=LazyCommands,
    package="envcheck.commands",
    helps=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 pass or done, 1 fail, 2 usage or bad input, 3 unknown, "
    "4 collector unreachable, 70 internal error, 130 interrupted.",
)
@click.version_option(__version__, prog_name="envcheck")
def envcheck() -> None:
    """Find out before rollout whether a device runs your model as training did."""


def main() -> None:
    """Run the command line and exit with one of the documented codes."""
    escape_unshowable()
    sys.exit(run_cli(envcheck))


def run_cli(command: click.Command, arguments: list[str] | None = None) -> int:
    """Run `command` and return its exit code; whatever goes wrong is told on stderr, without a traceback."""
    return ended(lambda: _invoked(command, arguments))


def _invoked(command: click.Command, arguments: list[str] | None) -> object:
    try:
        return command.main(args=arguments, standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        # The usage is our own; what follows quotes the arguments.
        usage, mark, message = shown.getvalue().rstrip().partition("Error: ")
        say(usage + mark + printable(message))
        return EXIT_USAGE
