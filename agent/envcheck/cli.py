"""The command `envcheck`: commands are imported when called, errors become exit codes here."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from envcheck import __version__
from envcheck.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_PASS, EXIT_USAGE, EnvcheckError

# One line a command: name -> (module under envcheck.commands, one-line help). The help stands here so
# that `envcheck --help` imports none of them; a test holds it to the command's own.
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


class _Commands(click.Group):
    """A group that imports a command's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"envcheck.commands.{name}"), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"envcheck.commands.{name} holds no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 pass or done, 1 fail, 2 usage or bad input, 3 unknown, "
    "4 collector unreachable, 70 internal error, 130 interrupted.",
)
@click.version_option(__version__, prog_name="envcheck")
def envcheck() -> None:
    """Find out before rollout whether a device runs your model as training did."""


def main() -> None:
    """Run the command line and exit with one of the documented codes."""
    sys.exit(run_cli(envcheck))


def run_cli(command: click.Command, arguments: list[str] | None = None) -> int:
    """Run `command` and return its exit code; whatever goes wrong is told on stderr, without a traceback."""
    try:
        result = command.main(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return EXIT_USAGE
    except EnvcheckError as error:
        tell(error)
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
        click.echo(f"internal error: {type(error).__name__}: {error}", err=True)
        click.echo("  this is a fault of envcheck; ENVCHECK_DEBUG=1 shows where", err=True)
        return EXIT_INTERNAL
    return result if isinstance(result, int) else EXIT_PASS


def tell(error: EnvcheckError) -> None:
    """Write an error and its hint to stderr, control characters made visible."""
    click.echo(f"error: {printable(error.message)}", err=True)
    if error.hint:
        click.echo(f"  {printable(error.hint)}", err=True)


def printable(text: str) -> str:
    """Make text from elsewhere inert for a terminal: control and format characters are escaped."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
