"""What `envcheck capture` does once its options are read. Imports late: this is the hot path."""

from __future__ import annotations

import os
import sys

from envcheck.errors import BadInput, Undetermined

# Not from `typing`: nothing that can wait is imported before the interpreter is asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, TypeVar

    from envcheck.contract.fingerprint import Fingerprint
    from envcheck.facts.host import Host, Target

    Found = TypeVar("Found")

_DEADLINE_S = 20.0
# Of the time left, what finding the target may take: the sections need the rest.
_SHARE = 0.6
_WHOLE = 1.25
FORMATS = ("text", "json", "cyclonedx", "requirements", "pylock")
# Known here too, so that a machine without a configuration imports nothing to find that out.
CONFIGURATION = "/etc/envcheck/config.yaml"


def run(
    *,
    sections: tuple[str, ...] = (),
    verify: bool = False,
    as_json: bool = False,
    form: str | None = None,
    wheels: str | None = None,
    output: str | None = None,
    deadline: float | None = None,
    **named: str | None,
) -> int:
    """Capture and write where the options say; `named` are those that choose machine, target and model.

    Raises BadInput for options that do not fit together or name what is not there.
    """
    import time

    from envcheck.facts.asking import ASKING_SECTIONS, Asking

    limit = _DEADLINE_S if deadline is None else deadline
    if not 0 < limit < float("inf"):
        raise BadInput("--deadline must be a positive number of seconds")
    form = _form(form, as_json=as_json, output=output)
    if wheels and form != "pylock":
        raise BadInput("--wheels is for --format pylock only")
    until = time.monotonic() + limit
    host, target = _target(named, until)
    # The interpreter is asked before the rest is imported: both take their time side by side.
    asking = Asking(target, host, until, sections or tuple(ASKING_SECTIONS))
    _import_msgspec()
    from envcheck.contract.fingerprint import SECTION_NAMES
    from envcheck.facts import gather

    fingerprint = gather.capture(
        target,
        host=host,
        sections=sections or SECTION_NAMES,
        deadline_s=max(0.0, until - time.monotonic()),
        asking=asking,
        verify=verify,
    )
    if form == "text" and output is None:
        from envcheck.output.capture import print_capture

        print_capture(fingerprint)
        return 0
    document = _document(fingerprint, form, wheels)
    if output is not None:
        _write(output, document)
    if output is None or as_json:
        _print(document)
    return 0


def _import_msgspec() -> None:
    """Import msgspec as where typing_extensions is not installed, which takes two thirds of the time.

    All that it would use of it is in Python itself since 3.11.
    """
    if sys.version_info < (3, 11) or not {"msgspec", "typing_extensions"}.isdisjoint(sys.modules):
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]


def _print(data: bytes) -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)


def _form(form: str | None, *, as_json: bool, output: str | None) -> str:
    if as_json and form not in (None, "json"):
        raise BadInput(f"--json and --format {form} can't be combined", "leave one of them out")
    return form or ("json" if as_json or output is not None else "text")


def _target(named: dict[str, str | None], until: float) -> tuple[Host, Target]:
    """Find the machine and the target that options and configuration name; the options go first.

    Whoever has to be asked for it (systemd, an engine) may take until `until`, in monotonic seconds.
    """
    from envcheck.facts.host import Host, Target

    root = named.get("root")
    host = Host(until=until)
    if root is not None:
        host = Host(root=_answered(root, until, lambda: _directory(root)), until=until)
    # A tree is another machine than the one that this one's configuration is about.
    configured = _configured(named.get("config"), until) if host.live or named.get("config") else {}
    if named.get("container"):
        configured = {}
    if named.get("unit") or named.get("env_file"):
        configured = {**configured, "unit": None, "env_file": None}
    chosen = {name: named.get(name) or configured.get(name) for name in ("python", "env_file", "unit")}
    if host.live and not any(chosen.values()) and not named.get("container"):
        target = Target()
    else:
        target = _resolved({**chosen, "container": named.get("container")}, host)
    if given := named.get("model"):
        _require_file(target, host, given)
    model = given or configured.get("model")
    if not model:
        return host, target
    # Sections may be gathered from elsewhere than from the present directory.
    whole = os.path.abspath(model) if host.live else model  # noqa: PTH100 links stay as they are
    return host, target.changed(model=whole)


def _resolved(chosen: dict[str, str | None], host: Host) -> Target:
    """Find the target, which may lie where nothing answers: then the other sections are told all the same."""
    from envcheck.facts.host import Target, resolve_target

    def resolve() -> Target:
        return resolve_target(**chosen, host=host, on_disk=True)

    named = [name for name in chosen.values() if name]
    python = chosen["python"]
    # Whoever is asked for these is held to the deadline anyway.
    share = _WHOLE if chosen["unit"] or chosen["container"] else _SHARE
    try:
        return _answered(" ".join(named) or str(host.root), host.until, resolve, share)
    except Undetermined:
        if python is None or named != [python] or not host.live:
            raise
        return Target(python, silent=True)


def _answered(name: str, until: float, work: Callable[[], Found], share: float = _SHARE) -> Found:
    """Return what `work` returns, unless it takes most of the time there is: files on a mount that hangs."""
    from envcheck.facts.patience import within

    seconds = _seconds(until, share)
    try:
        return within(seconds, work)
    except TimeoutError:
        raise Undetermined(
            f"{name} did not answer in {seconds:.3g} s",
            "does it lie on a network mount that hangs, or is it a pipe that nobody writes?",
        ) from None


def _seconds(until: float, share: float = _SHARE) -> float:
    import time

    return max(0.05, until - time.monotonic()) * share


def _require_file(target: Target, host: Host, path: str) -> None:
    container = target.container
    if container and not container.pid:
        raise BadInput(
            f"this user may not see the files of the container {container.name}, so not the model either",
            "run envcheck as root on the machine where the container runs, or leave --model out",
        )
    where = f" in the container {container.name}" if container else ""
    try:
        _answered(path, host.until, lambda: target.seen_from(host).read(path, 1))
    except Undetermined:
        return  # a reading says so
    except OSError as error:
        raise BadInput(
            f"the model {path}{where} can't be read: {error.strerror}", "name the deployed file"
        ) from None


def _configured(config: str | None, until: float) -> dict[str, str | None]:
    """Return what the configuration names: interpreter, env file, unit, model; None where it names none."""
    if not config and not os.environ.get("ENVCHECK_CONFIG") and not os.path.lexists(CONFIGURATION):
        return {}
    from pathlib import Path

    from envcheck.commands.configuration import load_configuration

    found = load_configuration(Path(config) if config else None, _seconds(until))
    return {name: getattr(found, name) or None for name in ("python", "env_file", "unit", "model")}


def _document(fingerprint: Fingerprint, form: str, wheels: str | None) -> bytes:
    if form == "json":
        from envcheck.contract.document import encode

        return encode(fingerprint) + b"\n"
    if form == "text":
        return _screen(fingerprint)
    from envcheck.output.installed import installed

    written = _bill(form, wheels)(installed(fingerprint, _warn))
    return str(written).encode("utf-8")


def _bill(form: str, wheels: str | None) -> Any:
    """Return the function that writes a list of packages in one format."""
    if form == "cyclonedx":
        from envcheck.output.cyclonedx import cyclonedx_text

        return cyclonedx_text
    if form == "requirements":
        from envcheck.output.requirements import requirements_text

        return requirements_text
    from functools import partial

    from envcheck.facts.wheels import read_wheels
    from envcheck.output.pylock import pylock_text

    return partial(pylock_text, wheels=read_wheels(wheels) if wheels else {})


def _screen(fingerprint: Fingerprint) -> bytes:
    import io

    from rich.console import Console

    from envcheck.output.capture import print_capture
    from envcheck.output.console import FILE_WIDTH

    written = io.StringIO()
    out = Console(file=written, width=FILE_WIDTH, highlight=False, markup=False, emoji=False)
    print_capture(fingerprint, out, whole=True)
    return written.getvalue().encode("utf-8")


def _warn(message: str) -> None:
    from envcheck.commands.common import notice

    notice(message)


def _directory(root: str) -> Path:
    """Return the root directory; raises BadInput when it holds no system."""
    from pathlib import Path

    path = Path(root)
    hint = "name the directory that an image is mounted on, or that a tree was captured into"
    try:
        names = {one.name for one in path.iterdir()}
    except FileNotFoundError:
        raise BadInput(f"there is no directory {root}", hint) from None
    except OSError as error:
        raise BadInput(f"{root} can't be read: {error.strerror}", hint) from None
    if names.isdisjoint(("etc", "proc", "usr", "sys")):
        raise BadInput(f"{root} is no root file system: it has none of etc, usr, proc, sys", hint)
    return path.resolve()


def _write(name: str, data: bytes) -> None:
    """Write to the place that was named; raises BadInput when that is not possible."""
    from pathlib import Path

    from envcheck.transport.files import refuse_write, write_named

    try:
        write_named(Path(name), data)
    except OSError as error:
        raise refuse_write("the file", Path(name), error) from None
