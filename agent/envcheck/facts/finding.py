"""Finding the interpreter that was named, and whether it is one; its file of variables."""

# os.path on purpose: what was typed stays as it is, and links are not followed.
# ruff: noqa: PTH100, PTH110, PTH113, PTH123

from __future__ import annotations

import contextlib
import os
import shutil
import time

from envcheck.errors import BadInput
from envcheck.facts.host import Host
from envcheck.facts.target import DEFAULT_PATH, Target

_CHECK_DEADLINE_S = 5.0
# Not through sys.stdout: a variable may give that another encoding.
_CHECK = "import os, sys; os.write(1, b'python%d' % sys.version_info[0])"
_FATAL = "Fatal Python error: "


def read_env_file(path: str) -> dict[str, str]:
    """Read a file of variables; raises BadInput naming the file and the line."""
    from envcheck.facts.env_file import parse_env_file

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise BadInput(f"the env file {path} can't be read: {error.strerror}") from None
    return parse_env_file(data, path)


def find_python(python: str, host: Host) -> str:
    """Return the path of a named interpreter; raises BadInput."""
    hint = "name the interpreter of the application that serves the model: --python /opt/app/venv/bin/python"
    if "/" not in python:
        found = shutil.which(python, path=host.environ.get("PATH", DEFAULT_PATH))
        if found is None:
            raise BadInput(f"there is no interpreter {python!r} on PATH", hint)
        return os.path.abspath(found)  # a venv's python must not be resolved to its base
    path = os.path.abspath(python)
    try:
        os.lstat(path)
    except PermissionError:
        raise BadInput(
            f"the interpreter {python} can't be looked at: this user may not enter its folder",
            "run envcheck as the user who serves the model, or as root",
        ) from None
    except OSError:
        raise BadInput(f"there is no interpreter {python}", hint) from None
    if not os.path.exists(path):
        raise BadInput(
            f"the interpreter {python} is a link to {os.path.realpath(path)}, which is not there",
            "the virtual environment outlived its Python; make it anew",
        )
    if not os.path.isfile(path):
        raise BadInput(f"the interpreter {python} is not a file", hint)
    if not os.access(path, os.X_OK):
        raise BadInput(f"the interpreter {python} may not be executed by this user", hint)
    _touch(path)
    return path


def _touch(path: str) -> None:
    """Read a little of a file: where that hangs it hangs in this thread, and starting it in all of them."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.read(1)


def checked(target: Target, host: Host, *, on_disk: bool = False) -> Target:
    """Return the target if it is Python 3; raises BadInput. `on_disk` lets through what can't run here."""
    command = target.command("-S", "-c", _CHECK)
    environ, rights = target.starting(host), target.rights
    # The sections need some of the time, to say so.
    limit = min(_CHECK_DEADLINE_S, (host.until - time.monotonic()) / 2)
    ended = host.run(command, environ=environ, deadline_s=limit, rights=rights)
    if ended.timed_out or ended.stdout.strip().endswith(b"python3"):
        return target
    if ended.problem:
        from envcheck.facts.tree import why_not_run

        if reason := why_not_run(target.python, host):
            if on_disk:
                return target.changed(unasked=reason)
            raise BadInput(
                f"{target.python} can't be run here: {reason}", "name an interpreter of this machine"
            )
        if target.rights:
            raise BadInput(
                f"{target.python} can't be started with the rights of the service's user: {ended.problem}",
                "may that user enter its folder and run it?",
            )
    told = ended.stderr.decode("utf-8", "replace")
    if _FATAL in told:
        why = told.partition(_FATAL)[2].partition("\n")[0]
        raise BadInput(
            f"{target.python} does not start: {why[:200]}",
            "see what it is started with: PYTHONHOME and other variables, and whether its library is there",
        )
    said = ended.problem or told.strip().rpartition("\n")[2][:200]
    raise BadInput(
        f"{target.python} is not a Python 3 interpreter" + (f": {said}" if said else ""),
        "name the interpreter of the application that serves the model",
    )
