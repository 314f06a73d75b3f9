"""A running container, asked through its engine's `exec`: docker or podman.

Files and limits are read from this machine's side of it, below /proc/PID/root of its main process, once it is
certain that this process is in the container that was asked: an engine may run elsewhere.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from envcheck.contract.fingerprint import Section
from envcheck.errors import BadInput
from envcheck.facts.host import UNSEEN, Host, Target
from envcheck.facts.section import integer

ENGINES = ("docker", "podman")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_DEADLINE_S = 20.0
_ABSENT = ("no such container", "no such object", "no container with name")
# The variables come from a process that `exec` starts: what the serving process was started with.
_CHECK = """\
import json, os, sys
def told(ask, path):
    try:
        return ask(path).strip()
    except OSError:
        return ""
boot = told(lambda path: open(path).read(), "/proc/sys/kernel/random/boot_id")
space = told(os.readlink, "/proc/self/ns/mnt")
sys.stdout.write("\\n@" + json.dumps([sys.version_info[0], dict(os.environ), sys.executable, boot, space]))
"""
_Answer = tuple[int, dict[str, str], str, str, str]
# The sections that tell of the machine below the container, and those that read the container's files.
_OF_KERNEL = ("system", "cpu", "memory", "cuda")
_OF_FILES = (*_OF_KERNEL, "onnxruntime")
_ELSEWHERE = "the container runs on another kernel than envcheck"
_CLOSED = "this user may not see the container's own files and limits"


@dataclass(frozen=True)
class Container:
    """One running container; `engine` is the engine's path, `image` the digest of what it was made from.

    `pid` is its main process as this machine counts, 0 when that can't be seen from here; `here` whether it
    runs on this machine's kernel at all.
    """

    engine: str
    name: str
    image: str = ""
    pid: int = 0
    here: bool = True

    @property
    def kind(self) -> str:
        """`docker` or `podman`."""
        return self.engine.rpartition("/")[2]

    def command(self) -> list[str]:
        """Return the beginning of a command line that runs something inside, standard input attached."""
        return [self.engine, "exec", "-i", self.name]

    def host(self, host: Host) -> Host:
        """Return this machine as the container's main process sees it; nothing where that can't be seen."""
        pid = str(self.pid)
        return host.seen_by(pid, f"/proc/{pid}/root") if self.pid else host.seen_by(UNSEEN, UNSEEN)

    @property
    def withheld(self) -> Mapping[str, str]:
        """The sections of which something lies where it can't be looked at, each with the reason."""
        return {} if self.pid else dict.fromkeys(_OF_FILES, _CLOSED)

    def unseen(self, section: str) -> Section | None:
        """Return what is to be said of a section that would describe another machine, None to gather it."""
        if self.here or section not in _OF_KERNEL:
            return None
        return Section(status="unreadable", reason=_ELSEWHERE)


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
    return Target(told[2] or target.python, told[1], container=_located(container, told[3], told[4], host))


def _located(container: Container, boot_id: str, mounts: str, host: Host) -> Container:
    """Return the container with what is certain of where it runs.

    `boot_id` and `mounts` (its mount name space) are what a process in it was told.
    """
    here = bool(boot_id) and boot_id == _own(lambda: host.read(_BOOT_ID).decode("ascii", "replace"))
    seen = here and bool(mounts) and mounts == _own(lambda: host.link(f"/proc/{container.pid}/ns/mnt"))
    return replace(container, here=here, pid=container.pid if seen else 0)


def _own(ask: Callable[[], str]) -> str:
    try:
        return ask().strip()
    except OSError:
        return ""


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
        form = "{{.State.Running}} {{.State.Pid}} {{.Image}}"
        command = [engine, "container", "inspect", "--format", form, name]
        ended = host.run(command, environ=dict(host.environ), deadline_s=_DEADLINE_S)
        word, pid, image = [*ended.stdout.decode("utf-8", "replace").split(), "", "", ""][:3]
        kind = engine.rpartition("/")[2]
        if ended.returncode == 0 and word == "true":
            return Container(engine, name, image[:100], pid=integer(pid) or 0)
        if ended.returncode == 0:
            raise BadInput(f"the container {name} does not run", f"start it first: {kind} start {name}")
        problems.append((kind, _why(ended.timed_out, ended.problem or _last_line(ended.stderr))))
    if all(any(word in said.lower() for word in _ABSENT) for _, said in problems):
        kinds = " or ".join(kind for kind, _ in problems)
        raise BadInput(f"there is no container {name} ({kinds})", f"see: {problems[0][0]} ps")
    said = "; ".join(f"{kind}: {text}" for kind, text in problems)
    raise BadInput(
        f"the container {name} can't be looked at: {said}",
        "start the engine, or run envcheck as a user who may use it",
    )


def _why(timed_out: bool, said: str) -> str:
    return "it did not answer in time" if timed_out else said or "it failed without a word"


def _answer(output: bytes) -> _Answer | None:
    line = output.rpartition(b"\n@")[2]
    try:
        found: _Answer = msgspec.json.decode(line, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


def _last_line(errors: bytes) -> str:
    return errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
