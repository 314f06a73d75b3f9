"""What several commands share: opening files that a person named, and exit codes by verdict."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envcheck.errors import EXIT_FAIL, EXIT_PASS, EXIT_UNKNOWN, BadInput

# `envcheck smoke` starts its child before it imports what reads a bundle.
if TYPE_CHECKING:
    from envcheck.contract.bundle import Bundle, Checking
    from envcheck.contract.fingerprint import Fingerprint
    from envcheck.contract.policy import Policy
    from envcheck.contract.verdict import Outcome

EXIT_BY_OUTCOME: dict[Outcome, int] = {"pass": EXIT_PASS, "fail": EXIT_FAIL, "unknown": EXIT_UNKNOWN}
# A model above 2 GB does not fit into one protobuf message, so no bundle is larger than that and its inputs.
MAX_FILE = 4 * 1024**3


def read_file(path: Path, what: str, limit: int = MAX_FILE) -> bytes:
    """Read a file that a person named; raises BadInput saying `what` it should have been."""
    try:
        if path.stat().st_size > limit:
            raise BadInput(f"{path} is larger than {limit // 1024**2} MB: that is no {what}")
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"there is no such {what}: {path}") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a directory, not a {what}") from None
    except OSError as error:
        raise BadInput(f"the {what} {path} can't be read: {error.strerror}") from None


def view_file(path: Path, what: str, limit: int = MAX_FILE) -> memoryview:
    """Return a view of a file that a person named, so that nothing large is copied; raises as `read_file`.

    What can't be mapped (a pipe) is read.
    """
    from envcheck.transport.files import map_file

    with suppress(OSError):
        if path.is_file() and path.stat().st_size <= limit:
            return map_file(path)
    # Whatever is wrong, reading it says so.
    return memoryview(read_file(path, what, limit))


def open_bundle(path: Path, checking: Checking | None = None) -> Bundle:
    """Open a bundle that a person named: it may be unsigned, but not damaged."""
    from envcheck.contract.bundle import Checking, read_bundle

    return read_bundle(view_file(path, "bundle"), str(path), notice, checking or Checking())


def find_policy(name: str) -> Policy:
    """Return the policy called `name`, or the one in the file of that name."""
    from envcheck.judge.policies import BUILTIN, builtin_policy, load_policy

    if name in BUILTIN:
        return builtin_policy(name)
    path = Path(name)
    if "/" not in name and path.suffix not in (".yaml", ".yml") and not path.exists():
        return builtin_policy(name)
    data = read_file(path, "policy", limit=1024**2)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text (byte {error.start})") from None
    return load_policy(text, str(path))


def notice(message: str) -> None:
    """Tell something that does not stop the command."""
    from envcheck.contract.text import printable

    click.echo(f"warning: {printable(message)}", err=True)


def tell_stage(stage: str) -> None:
    """Say on a terminal what a long run is at, and at its end nothing; a log gets none of it."""
    from envcheck.contract.text import printable

    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{printable(stage)}", err=True, nl=False)


def write_output(path: Path, data: bytes, what: str = "file") -> None:
    """Write a file that a person named, whole or not at all; raises BadInput when that is not possible."""
    from envcheck.transport.files import refuse_write, write_named

    try:
        write_named(path, data)
    except OSError as error:
        raise refuse_write(f"the {what}", path, error) from None


def target_options(function: Any) -> Any:
    """Add the options that name the interpreter which serves the model."""
    function = click.option(
        "--env-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Variables that the model is served with (KEY=VALUE lines).",
    )(function)
    return click.option(
        "--python", metavar="EXE", help="The interpreter that serves the model (default: this one)."
    )(function)


def device_name(fingerprint: Fingerprint, configured: str = "") -> str:
    """Return what to call a device: its configured id, its host name, or the fingerprint's first digits."""
    system = fingerprint.sections.get("system")
    name = configured or (system.device.get("hostname") if system is not None else None)
    return str(name) if name else fingerprint.digest[:12]


def describe(fingerprint: Fingerprint, name: str) -> str:
    """Return one phrase: the device, its processor, the Python and the onnxruntime that serve."""
    facts = {title: section.shared for title, section in fingerprint.sections.items()}
    parts = [str(facts.get("cpu", {}).get("model") or ""), "", ""]
    if version := facts.get("python", {}).get("version"):
        parts[1] = f"Python {version}"
    packages = facts.get("packages", {})
    runtimes = sorted(title for title in packages if title.startswith("onnxruntime"))
    parts[2] = ", ".join(f"{title} {packages[title].get('version')}" for title in runtimes)
    described = ", ".join(part for part in parts if part)
    return f"{name} ({described})" if described else name
