"""Ask the target interpreter what it is and what it would import. The asking is `probe.py`, sent as text."""

from __future__ import annotations

from pathlib import Path

import msgspec

from envcheck.facts.host import Host, Target

# The probe's own name for its document; a test holds the two equal.
MARKER = b"envcheck-probe-1 "


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution as its files tell it, raw. `linked` names what an .egg-link points to."""

    folder: str = ""
    file: str = ""
    kind: str = ""
    linked: str = ""
    metadata: str | None = None
    wheel: str | None = None
    installer: str | None = None
    direct_url: str | None = None
    build: str = ""
    owns: list[str] = []


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """What an interpreter tells of itself, raw; see `probe.py` for each field's source."""

    implementation: str
    version: str
    build: str
    abi: str
    abiflags: str
    gil: bool | None
    machine: str
    bits: int
    byteorder: str
    libc: str
    executable: str
    prefix: str
    base_prefix: str
    conda: bool
    flags: dict[str, int]
    user_site: bool | None
    customised: list[str]
    path: list[str]
    distributions: list[Distribution]
    unreadable: list[str]
    hooks: list[str]
    files: dict[str, str | None]
    folders: dict[str, list[str] | None]


class NoAnswer(Exception):
    """The interpreter did not tell. The reason holds no path, since it enters digests."""


def ask_interpreter(target: Target, host: Host, deadline_s: float) -> Interpreter:
    """Run the probe in the target's interpreter; raises NoAnswer."""
    source = Path(__file__).with_name("probe.py").read_text(encoding="ascii")
    ended = host.run(
        target.command("-B", "-c", source), environ=target.variables(host), deadline_s=deadline_s
    )
    if ended.problem:
        raise NoAnswer(f"the interpreter could not be started: {ended.problem}")
    found = parse_answer(ended.stdout)
    if found is not None:
        return found
    if ended.timed_out:
        raise NoAnswer("the interpreter did not answer before the deadline")
    if ended.flooded:
        raise NoAnswer("the interpreter wrote without end")
    if ended.returncode is not None and ended.returncode < 0:
        raise NoAnswer(f"the interpreter was killed by signal {-ended.returncode}")
    if ended.returncode:
        raise NoAnswer(f"the interpreter ended with exit code {ended.returncode}: {_last_line(ended.stderr)}")
    raise NoAnswer("the interpreter gave no answer that can be read")


def parse_answer(output: bytes) -> Interpreter | None:
    """Find the probe's document in what the interpreter printed; start-up hooks may print too."""
    start = output.rfind(b"\n" + MARKER)
    if start < 0:
        return None
    line = output[start + 1 + len(MARKER) :].partition(b"\n")[0]
    try:
        return msgspec.json.decode(line, type=Interpreter)
    except (msgspec.DecodeError, RecursionError):
        return None


def _last_line(errors: bytes) -> str:
    """Return the kind of the exception that ended the interpreter; its text may hold a device's own paths."""
    line = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
    kind = line.partition(":")[0].strip()
    return kind[:60] if kind.replace(".", "").replace("_", "").isalnum() else "no reason given"
