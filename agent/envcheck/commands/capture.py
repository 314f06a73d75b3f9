"""`envcheck capture`: describe the environment that serves the model."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import click

from envcheck.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from envcheck.contract.fingerprint import Fingerprint

_DEADLINE_S = 20.0
# Known here too, so that a machine without a configuration imports nothing to find that out.
CONFIGURATION = "/etc/envcheck/config.yaml"


@click.command()
@click.option("--python", metavar="EXE", help="The interpreter that serves the model (default: this one).")
@click.option(
    "--env-file",
    metavar="FILE",
    help="Variables that the model is served with (NAME=VALUE lines, as systemd reads them).",
)
@click.option(
    "--root", metavar="DIR", help="Read a mounted image or a captured tree instead of this machine."
)
@click.option("--section", "sections", metavar="S", multiple=True, help="Only this section; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the fingerprint as a JSON document.")
@click.option("-o", "--output", metavar="FILE", help="Write the JSON document to a file.")
@click.option("--deadline", type=float, metavar="S", help="Seconds that all of it may take (default: 20).")
@click.option(
    "--config",
    metavar="FILE",
    help="Configuration file (default: ENVCHECK_CONFIG, then /etc/envcheck/config.yaml).",
)
def capture(
    python: str | None,
    env_file: str | None,
    root: str | None,
    sections: tuple[str, ...],
    as_json: bool,
    output: str | None,
    deadline: float | None,
    config: str | None,
) -> int:
    """Describe this machine's inference environment.

    Reads files and asks the interpreter that serves the model what it would import; changes nothing, needs
    no root, imports neither torch nor onnxruntime. Sections: python, packages, system, cpu, memory,
    cuda, onnxruntime, variables. What can't be had is told with its reason, and exits 0 all the same.

    \b
    Examples:
      envcheck capture
      envcheck capture --python /opt/app/venv/bin/python --env-file /etc/default/app
      envcheck capture --section cpu --section onnxruntime --json
      envcheck capture -o fingerprint.json
      envcheck capture --root /mnt/image --section system
    """
    import time

    from envcheck.facts.asking import ASKING_SECTIONS, Asking
    from envcheck.facts.host import Host, Target, resolve_target

    limit = _DEADLINE_S if deadline is None else deadline
    if not math.isfinite(limit) or limit <= 0:
        raise BadInput("--deadline must be a positive number of seconds")
    named, serving = _configured(config)
    host = Host() if root is None else Host(root=_directory(root))
    if host.live or python:
        target = resolve_target(python or named, env_file or serving, host=host)
    else:
        target = Target("")
    # The interpreter is asked before the rest is imported: both take their time side by side.
    asking = Asking(target, host, time.monotonic() + limit, sections or tuple(ASKING_SECTIONS))
    from envcheck.contract.fingerprint import SECTION_NAMES
    from envcheck.facts import gather

    fingerprint = gather.capture(
        target, host=host, sections=sections or SECTION_NAMES, deadline_s=limit, asking=asking
    )
    if output is not None:
        _write_whole(output, _document(fingerprint))
    if as_json:
        click.echo(_document(fingerprint), nl=False)
    elif output is None:
        from envcheck.output.capture import print_capture

        print_capture(fingerprint)
    return 0


def _configured(config: str | None) -> tuple[str | None, str | None]:
    """Return interpreter and env file of the configuration, None where it names none."""
    if not config and not os.environ.get("ENVCHECK_CONFIG") and not os.path.lexists(CONFIGURATION):
        return None, None
    from pathlib import Path

    from envcheck.commands.configuration import load_configuration

    configuration = load_configuration(Path(config) if config else None)
    return configuration.python or None, configuration.env_file or None


def _document(fingerprint: Fingerprint) -> bytes:
    from envcheck.contract.document import encode

    return encode(fingerprint) + b"\n"


def _directory(root: str) -> Path:
    """Return the root directory; raises BadInput when it holds no system."""
    from pathlib import Path

    path = Path(root)
    if not path.is_dir():
        raise BadInput(f"there is no directory {root}")
    if not any((path / name).is_dir() for name in ("etc", "proc", "usr", "sys")):
        raise BadInput(
            f"{root} is no root file system: it has none of etc, usr, proc, sys",
            "name the directory that an image is mounted on",
        )
    return path.resolve()


def _write_whole(name: str, data: bytes) -> None:
    """Write a file that is either all there or not there; raises BadInput."""
    import tempfile
    from pathlib import Path

    path = Path(name)
    scratch = None
    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(scratch).replace(path)
        scratch = None
    except OSError as error:
        raise BadInput(f"{path} can't be written: {error.strerror}") from None
    finally:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
