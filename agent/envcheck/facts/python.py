"""Section `python`: the interpreter that serves the model."""

from __future__ import annotations

from envcheck.contract.fingerprint import Section
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.section import Facts, Scene, section

_KINDS = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalPy"}


class Libc(Facts, frozen=True, kw_only=True):
    """A C library: `glibc` or `musl`; the version only where the library tells it."""

    name: str
    version: str = ""


class PythonFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common.

    `environment` is venv, conda or system. `isolated` tells that it was started with -I, since no serving
    environment is configured. `hooks` are .pth files that run code at start, `customised` the
    site modules that were imported.
    """

    implementation: str
    version: str
    build: str
    abi: str
    machine: str
    bits: int
    byteorder: str
    free_threaded: bool = False
    gil: bool | None = None
    libc: Libc | None = None
    environment: str
    isolated: bool
    user_site: bool = False
    flags: dict[str, int] = {}
    hooks: list[str] = []
    customised: list[str] = []


class PythonPlaces(Facts, frozen=True, kw_only=True):
    """Where it lies on this device, and what of it may not be read."""

    executable: str
    prefix: str
    base_prefix: str
    path: list[str]
    unreadable: list[str] = []


def gather(scene: Scene) -> Section:
    """Tell what the target's interpreter told of itself."""
    told = scene.interpreter()
    return section(
        python_facts(told, scene.target.isolated),
        PythonPlaces(
            executable=told.executable,
            prefix=told.prefix,
            base_prefix=told.base_prefix,
            path=told.path,
            unreadable=told.unreadable,
        ),
    )


def python_facts(told: Interpreter, isolated: bool) -> PythonFacts:
    """Name what the interpreter told."""
    # -I sets these three by itself: `isolated` says it once.
    implied = {"isolated", "no_user_site", "ignore_environment", "safe_path"} if isolated else set()
    return PythonFacts(
        implementation=_KINDS.get(told.implementation, told.implementation),
        version=told.version,
        build=told.build,
        abi=told.abi,
        machine=told.machine,
        bits=told.bits,
        byteorder=told.byteorder,
        free_threaded="t" in told.abiflags,
        gil=told.gil,
        libc=parse_libc(told.libc),
        environment=_environment(told),
        isolated=isolated,
        user_site=bool(told.user_site),
        flags={name: value for name, value in told.flags.items() if name not in implied},
        hooks=told.hooks,
        customised=told.customised,
    )


def parse_libc(text: str) -> Libc | None:
    """Read `glibc 2.36`, as confstr gives it, or `musl`."""
    name, _, version = text.strip().partition(" ")
    return Libc(name=name, version=version.strip()) if name else None


def _environment(told: Interpreter) -> str:
    if told.prefix != told.base_prefix:
        return "venv"
    return "conda" if told.conda else "system"
