"""The command `envcheck-server`: commands are imported when called, errors become exit codes here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from envcheck import __version__
from envcheck.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_PASS, EXIT_USAGE, EnvcheckError

# name -> one-line help; a test holds it to the command's own.
COMMANDS = {
    "serve": "Run the collector.",
    "migrate": "Bring the database up to date.",
    "token": "Create, list and revoke tokens.",
    "device": "List, accept, revoke and label devices.",
    "db": "Look after the database.",
}


class _Commands(click.Group):
    """A group that imports a command's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"envcheck_server.commands.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 2 usage or bad input, 3 unknown, 70 internal error, 130 interrupted.",
)
@click.version_option(__version__, prog_name="envcheck-server")
def envcheck_server() -> None:
    """Collect what devices report, and answer the gate."""


def main() -> None:
    """Run the command line and exit with one of the documented codes."""
    sys.exit(run(lambda: envcheck_server.main(standalone_mode=False)))


def run(command: Callable[[], Any]) -> int:
    """Run `command` and return its exit code; what goes wrong is told on stderr, without a traceback."""
    try:
        result = command()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return EXIT_USAGE
    except EnvcheckError as error:
        click.echo(f"error: {inert(error.message)}", err=True)
        if error.hint:
            click.echo(f"  {inert(error.hint)}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more can be said, and the interpreter must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PASS
    except Exception as error:
        if os.environ.get("ENVCHECK_DEBUG"):
            raise
        click.echo(f"internal error: {type(error).__name__}: {inert(str(error))}", err=True)
        click.echo("  this is a fault of envcheck; ENVCHECK_DEBUG=1 shows where", err=True)
        return EXIT_INTERNAL
    return result if isinstance(result, int) else EXIT_PASS


def inert(text: str) -> str:
    """Escape control and format characters, so that text from elsewhere can't drive a terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
