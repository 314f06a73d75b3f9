"""The errors a user can cause or meet; each knows its exit code. Imports nothing."""

from __future__ import annotations

EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 3
EXIT_UNREACHABLE = 4
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130


class EnvcheckError(Exception):
    """Something went wrong that the user can understand and act on.

    `message` says what was wrong and where (file, line, field path); `hint` says what to do next.
    """

    exit_code = EXIT_UNKNOWN

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(EnvcheckError):
    """A file, an option or a document that cannot be used as it is."""

    exit_code = EXIT_USAGE


class MissingExtra(BadInput):
    """An optional part of envcheck is not installed; the hint is the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed here",
            f"pip install 'envcheck[{extra}]'",
        )


class Undetermined(EnvcheckError):
    """The question could not be answered; never to be taken for a pass."""

    exit_code = EXIT_UNKNOWN


class Unreachable(EnvcheckError):
    """The collector did not answer, or something else answered in its place."""

    exit_code = EXIT_UNREACHABLE
