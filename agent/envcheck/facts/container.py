"""A running container, asked through its engine's `exec`: docker or podman."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from envcheck.errors import BadInput
from envcheck.facts.host import Host, Target

ENGINES = ("docker", "podman")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_DEADLINE_S = 20.0
_ABSENT = ("no such container", "no such object", "no container with name")
# The variables come from a process that `exec` starts: what the serving process was started with.
_CHECK = (
    "import json, os, sys; sys.stdout.write('\\n@' + json.dumps("
    "[sys.version_info[0], dict(os.environ), sys.executable]))"
)


@dataclass(frozen=True)
class Container:
    """One running container; `engine` is the engine's path, `image` the digest of what it was made from."""

    engine: str
    name: str
    image: str = ""

    @property
    def kind(self) -> str:
        """`docker` or `podman`."""
        return self.engine.rpartition("/")[2]

    def command(self) -> list[str]:
        """Return the beginning of a command line that runs something inside, standard input attached."""
        return [self.engine, "exec", "-i", self.name]


def container_target(name: str, python: str | None, host: Host) -> Target:
    """Find a container and the interpreter in it (default: python3 on its PATH).

    Raises BadInput when there is no engine, no such container or no Python 3 in it, and when it does not run.
    """
    if _NAME.fullmatch(name) is None:
        raise BadInput(f"{name[:80]!r} is no name of a container", "see: docker ps --format '{{.Names}}'")
    container = _find(name, _engines(host), host)
    target = Target(python or "python3", {}, container=container)
    command = [*container.command(), target.python, "-S", "-c", _CHECK]
    ended = host.run(command, environ=target.starting(host), deadline_s=_DEADLINE_S)
    told = _answer(ended.stdout)
    if told is None or told[0] != 3:
        said = "it did not answer in time" if ended.timed_out else _last_line(ended.stderr) or ended.problem
        raise BadInput(
            f"{target.python} in the container {name} is not a Python 3 interpreter"
            + (f": {said}" if said else ""),
            "name the one that serves the model: --python /opt/app/venv/bin/python",
        )
    return Target(told[2] or target.python, told[1], container=container)


def _engines(host: Host) -> list[str]:
    path = host.environ.get("PATH")
    found = [where for name in ENGINES if (where := shutil.which(name, path=path))]
    if not found:
        raise BadInput(
            "neither docker nor podman is on PATH, so no container can be asked",
            "run envcheck where the container's engine is, or inside of the container",
        )
    return found


def _find(name: str, engines: Sequence[str], host: Host) -> Container:
    problems = []
    for engine in engines:
        form = "{{.State.Running}} {{.Image}}"
        command = [engine, "container", "inspect", "--format", form, name]
        ended = host.run(command, environ=dict(host.environ), deadline_s=_DEADLINE_S)
        word, _, image = ended.stdout.decode("utf-8", "replace").strip().partition(" ")
        kind = engine.rpartition("/")[2]
        if ended.returncode == 0 and word == "true":
            return Container(engine, name, image.strip()[:100])
        if ended.returncode == 0:
            raise BadInput(f"the container {name} does not run", f"start it first: {kind} start {name}")
        problems.append((kind, _why(ended.timed_out, ended.problem or _last_line(ended.stderr))))
    if all(any(word in said.lower() for word in _ABSENT) for _, said in problems):
        kinds = " or ".join(kind for kind, _ in problems)
        raise BadInput(f"there is no container {name} ({kinds})", f"see: {problems[0][0]} ps")
    said = "; ".join(f"{kind}: {text}" for kind, text in problems)
    raise BadInput(f"the container {name} can't be looked at: {said}", "may this user use the engine?")


def _why(timed_out: bool, said: str) -> str:
    return "it did not answer in time" if timed_out else said or "it failed without a word"


def _answer(output: bytes) -> tuple[int, dict[str, str], str] | None:
    line = output.rpartition(b"\n@")[2]
    try:
        return msgspec.json.decode(line, type=tuple[int, dict[str, str], str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _last_line(errors: bytes) -> str:
    return errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
