"""What the target interpreter told when it was asked: reading the probe's answer. Pure."""

from __future__ import annotations

import msgspec

from envcheck.facts.process import Ended

# The probe's own name for its document; a test holds the two equal.
MARKER = b"envcheck-probe-1 "


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution as its files tell it, raw. `linked` names what an .egg-link points to.

    `build` is None without a RECORD and "" for one without hashes. `vendors` are the packages of it that
    carry other distributions inside. `damaged` says why a zip on the search path could not be read.
    """

    folder: str = ""
    file: str = ""
    kind: str = ""
    linked: str = ""
    metadata: str | None = None
    wheel: str | None = None
    installer: str | None = None
    direct_url: str | None = None
    build: str | None = None
    owns: list[str] = []
    vendors: list[str] = []
    zipped: bool = False
    damaged: str = ""


class Vendored(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata that lies in `within`/_vendor below a folder of the search path, by the files' names."""

    folder: str
    within: str
    files: list[str]


class CondaPackage(msgspec.Struct, frozen=True, kw_only=True):
    """One file of conda-meta; `distributions` are the stems of the Python metadata that it installed."""

    name: str
    version: str = ""
    build: str = ""
    channel: str = ""
    subdir: str = ""
    distributions: list[str] = []


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
    flags: dict[str, int]
    user_site: bool | None
    customised: list[str]
    path: list[str]
    distributions: list[Distribution]
    unreadable: list[str]
    hooks: list[str]
    files: dict[str, str | None]
    folders: dict[str, list[str] | None]
    # None: there is no conda environment.
    conda: list[CondaPackage] | None = None
    vendored: list[Vendored] = []
    path_files: list[str] = []
    user_folder: str = ""
    container: str = ""
    # Why it could not be run, when all of this was read from its files; such a reason holds no path.
    unasked: str = ""


class NoAnswer(Exception):
    """The interpreter did not tell. The reason holds no path, since it enters digests."""


def read_answer(ended: Ended | None) -> Interpreter:
    """Read what the probe printed; raises NoAnswer, also for a probe that did not end (None)."""
    found = parse_answer(ended.stdout) if ended else None
    if found is None:
        raise NoAnswer(_why(ended))
    return found


def _why(ended: Ended | None) -> str:
    if ended is None or ended.timed_out:
        return "the interpreter did not answer before the deadline"
    if ended.problem:
        return f"the interpreter could not be started: {ended.problem}"
    if ended.flooded:
        return "the interpreter wrote without end"
    if ended.returncode is not None and ended.returncode < 0:
        return f"the interpreter was killed by signal {-ended.returncode}"
    if ended.returncode:
        return f"the interpreter ended with exit code {ended.returncode} ({_kind(ended.stderr)})"
    return "the interpreter gave no answer that can be read"


def parse_answer(output: bytes) -> Interpreter | None:
    """Find the probe's document in what the interpreter printed; start-up hooks may print too."""
    start = output.rfind(b"\n" + MARKER)
    if start < 0:
        return None
    line = output[start + 1 + len(MARKER) :].partition(b"\n")[0]
    try:
        return msgspec.json.decode(line, type=Interpreter)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _kind(errors: bytes) -> str:
    """Return the kind of the exception that ended the interpreter; its text may hold a device's own paths."""
    line = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
    kind = line.partition(":")[0].strip()
    return kind[:60] if kind.replace(".", "").replace("_", "").isalnum() else "no reason given"
