"""The command `envcheck`: commands are imported when called, errors become exit codes here."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from envcheck import __version__
from envcheck.contract.text import printable
from envcheck.errors import (
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_PASS,
    EXIT_UNKNOWN,
    EXIT_USAGE,
    EnvcheckError,
)

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
    for stream in (sys.stdout, sys.stderr):
        # What a terminal can't show (a file name that is not UTF-8, say) is shown escaped.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run_cli(envcheck))


def run_cli(command: click.Command, arguments: list[str] | None = None) -> int:
    """Run `command` and return its exit code; whatever goes wrong is told on stderr, without a traceback.

    Set ENVCHECK_DEBUG to see the traceback of an internal error.
    """
    stdout = sys.stdout
    try:
        result = command.main(args=arguments, standalone_mode=False)
        code = result if isinstance(result, int) else EXIT_PASS
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.ClickException, click.Abort, KeyboardInterrupt) as error:
        return _interrupted_or_misused(error)
    except EnvcheckError as error:
        tell(error)
        return error.exit_code
    except SystemExit as leave:
        # click and rich end a broken pipe with code 1, which here says that a device is not ready. click
        # leaves another stdout in the place of the broken one, rich the error as the context.
        broken = sys.stdout is not stdout or isinstance(leave.__context__, BrokenPipeError)
        return _unwritten() if broken else _code(leave)
    except BrokenPipeError:
        return _unwritten()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _internal(error)
        tell(EnvcheckError(f"the output can't be written: {error}"))
        return _unwritten()
    except Exception as error:  # noqa: BLE001 (the last resort: told as a fault of envcheck, with its own code)
        return _internal(error)
    return code


def tell(error: EnvcheckError) -> None:
    """Write an error and its hint to stderr, control characters made visible."""
    _say(f"error: {printable(error.message)}")
    if error.hint:
        _say(f"  {printable(error.hint)}")


def _code(leave: SystemExit) -> int:
    return leave.code if isinstance(leave.code, int) else EXIT_INTERNAL if leave.code else EXIT_PASS


def _interrupted_or_misused(error: BaseException) -> int:
    if not isinstance(error, click.ClickException):
        _say("interrupted")
        return EXIT_INTERRUPTED
    shown = io.StringIO()
    error.show(file=shown)
    # The usage is our own; what follows quotes the arguments.
    usage, mark, message = shown.getvalue().rstrip().partition("Error: ")
    _say(usage + mark + printable(message))
    return EXIT_USAGE


def _unwritten() -> int:
    """Nobody has read the whole answer (`| head`, a full disk): so it is neither a pass nor a fail."""
    # The interpreter must not try to write the rest at exit, and there may be no file below (in a test).
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_UNKNOWN


def _internal(error: Exception) -> int:
    _say(f"internal error: {type(error).__name__}: {printable(str(error))}")
    if os.environ.get("ENVCHECK_DEBUG"):
        _say("".join(traceback.format_exception(error)))
    else:
        _say("  this is a fault of envcheck; ENVCHECK_DEBUG=1 shows where")
    return EXIT_INTERNAL


def _say(text: str) -> None:
    # Where stderr can't be written either, the exit code still says it.
    with suppress(OSError):
        click.echo(text, err=True)
