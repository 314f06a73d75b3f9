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
    from typing import Any


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
        from envcheck.cli import envcheck, run_cli

        sys.exit(run_cli(envcheck))
    # What lives for a tenth of a second needs no collection of its garbage, nor to be taken apart at the end:
    # both would take a twelfth of its time.
    gc.disable()
    code = ended(lambda: _capture(options))
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
