"""The command `envcheck`, also `python -m envcheck`. A plain `capture` runs without click: docs/adr/0007."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from envcheck.ending import ended, escape_unshowable, say

# Not from `typing`: on the hot path nothing is imported before the interpreter is asked that can wait.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


# New objects after which Python looks for garbage.
_THRESHOLD = 50_000


def main() -> None:
    """Run the command line and exit with one of the documented codes."""
    if sys.argv[1:2] == ["report"]:
        from envcheck.commands.due import is_plainly_not_due

        # The timer asks every minute, and mostly for nothing.
        if is_plainly_not_due(sys.argv[1:]):
            return
    escape_unshowable()
    options = _plain_capture(sys.argv[1:])
    if options is None:
        # Imports leave next to no garbage, and at the usual threshold they are searched for it all the time.
        gc.set_threshold(_THRESHOLD)
        from envcheck.cli import envcheck, run_cli

        _leave(run_cli(envcheck))
    # What lives for a tenth of a second needs no collection of its garbage.
    gc.disable()
    _leave(ended(lambda: _capture(options)))


def _leave(code: int) -> NoReturn:
    """End without taking the interpreter apart, which would take a twelfth of a short command's time."""
    atexit._run_exitfuncs()  # noqa: SLF001 what an ordinary end calls as well
    os._exit(code)


def _plain_capture(arguments: list[str]) -> dict[str, Any] | None:
    """Return the options of a plain `capture`, None when click is to read the arguments."""
    if arguments[:1] != ["capture"] or sys.platform == "win32":
        return None
    from envcheck.commands.plain import plain_options

    return plain_options(arguments[1:])


def _capture(options: dict[str, Any]) -> int:
    from envcheck.commands.capturing import run

    try:
        return run(**options)
    except KeyboardInterrupt:
        # As click does: what follows does not stand behind the ^C that the terminal shows.
        say("")
        raise


if __name__ == "__main__":
    main()
