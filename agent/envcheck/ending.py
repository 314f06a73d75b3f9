"""How a command line ends: whatever it does, a documented exit code and a calm word on stderr."""

from __future__ import annotations

import io
import os
import sys

from envcheck.contract.text import printable
from envcheck.errors import (
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_PASS,
    EXIT_UNKNOWN,
    EnvcheckError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def ended(action: Callable[[], object]) -> int:
    """Do `action` and return the exit code; whatever goes wrong is told on stderr, without a traceback.

    An integer that `action` returns is the exit code, anything else a pass. Set ENVCHECK_DEBUG to see the
    traceback of an internal error.
    """
    stdout = sys.stdout
    try:
        result = action()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
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
    except Exception as error:  # noqa: BLE001 (the last resort: told as a fault of envcheck, with its own code)
        return _failed(error)
    return result if isinstance(result, int) else EXIT_PASS


def escape_unshowable() -> None:
    """Let both streams show escaped what they can't show (a file name that is not UTF-8, say)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(error: EnvcheckError) -> None:
    """Write an error and its hint to stderr, control characters made visible."""
    say(f"error: {printable(error.message)}")
    if error.hint:
        say(f"  {printable(error.hint)}")


def say(text: str) -> None:
    """Write a line to stderr. Where that can't be done either, the exit code still says it."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
    except OSError:
        return


def _code(leave: SystemExit) -> int:
    return leave.code if isinstance(leave.code, int) else EXIT_INTERNAL if leave.code else EXIT_PASS


def _unwritten() -> int:
    """Nobody has read the whole answer (`| head`, a full disk): so it is neither a pass nor a fail."""
    # The interpreter must not try to write the rest at exit, and there may be no file below (in a test).
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        return EXIT_UNKNOWN
    return EXIT_UNKNOWN


def _failed(error: Exception) -> int:
    import errno

    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        tell(EnvcheckError(f"the output can't be written: {error}"))
        return _unwritten()
    say(f"internal error: {type(error).__name__}: {printable(str(error))}")
    if os.environ.get("ENVCHECK_DEBUG"):
        import traceback

        say("".join(traceback.format_exception(error)))
    else:
        say("  this is a fault of envcheck; ENVCHECK_DEBUG=1 shows where")
    return EXIT_INTERNAL
