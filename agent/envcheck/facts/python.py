"""Section `python`: the interpreter that serves the model."""

from __future__ import annotations

from envcheck.contract.fingerprint import Section
from envcheck.facts.host import Target
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.section import Facts, Scene, section

# What the kernel tells of itself, and what a program of half its word size is built for.
_NARROW = {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}
_KINDS = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalPy"}


class Libc(Facts, frozen=True, kw_only=True):
    """A C library: `glibc` or `musl`; the version only where the library tells it."""

    name: str
    version: str = ""


class PythonFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common.

    `tag` is the interpreter's own in wheel names (cp311, cp313t), `abi` that of its extension modules.
    `environment` is venv, conda or system, `container` the kind of container that it is in, `image` the
    digest of what that was made from. `isolated` tells that it was started with -I, since no serving
    environment is configured. What changes what is imported:
    `system_site` (a virtual environment that sees its base's packages), `user_site`, `pythonpath`,
    `path_files` (.pth files that name folders), `hooks` (.pth files that run code at start), `customised`
    (site modules that were imported) and `flags`.
    """

    implementation: str
    version: str
    tag: str = ""
    build: str = ""
    abi: str = ""
    machine: str = ""
    bits: int | None = None
    byteorder: str = ""
    free_threaded: bool = False
    gil: bool | None = None
    libc: Libc | None = None
    environment: str
    container: str = ""
    image: str = ""
    isolated: bool
    system_site: bool = False
    user_site: bool = False
    pythonpath: bool = False
    flags: dict[str, int] = {}
    path_files: list[str] = []
    hooks: list[str] = []
    customised: list[str] = []


class PythonPlaces(Facts, frozen=True, kw_only=True):
    """Where it lies on this device or in its container, and what of it may not be read."""

    container: str = ""
    executable: str
    prefix: str
    base_prefix: str
    user_folder: str = ""
    path: list[str]
    unreadable: list[str] = []


def gather(scene: Scene) -> Section:
    """Tell what the target's interpreter told of itself, or what its files tell where it can't be run."""
    told = scene.interpreter()
    container = scene.target.container
    return section(
        python_facts(told, scene.target),
        PythonPlaces(
            container=container.name if container else "",
            executable=told.executable,
            prefix=told.prefix,
            base_prefix=told.base_prefix,
            user_folder=told.user_folder,
            path=told.path,
            unreadable=told.unreadable,
        ),
        status="skipped" if told.unasked else "ok",
        reason=told.unasked,
    )


def python_facts(told: Interpreter, target: Target) -> PythonFacts:
    """Name what the interpreter told."""
    # -I sets these three by itself: `isolated` says it once.
    isolated = target.isolated
    implied = {"isolated", "no_user_site", "ignore_environment", "safe_path"} if isolated else set()
    container = target.container
    return PythonFacts(
        implementation=_KINDS.get(told.implementation, told.implementation),
        version=told.version,
        tag=parse_tag(told.implementation, told.version, told.abiflags),
        build=told.build,
        abi=told.abi,
        machine=_NARROW.get(told.machine, told.machine) if told.bits == 32 else told.machine,
        bits=told.bits or None,
        byteorder=told.byteorder,
        free_threaded="t" in told.abiflags,
        gil=told.gil,
        libc=parse_libc(told.libc),
        environment=_environment(told),
        container=container.kind if container else told.container,
        image=container.image if container else "",
        isolated=isolated,
        system_site=_system_site(told),
        user_site=bool(told.user_site) and told.user_folder in told.path,
        pythonpath=not told.flags.get("ignore_environment")
        and bool((target.environ or {}).get("PYTHONPATH")),
        flags={name: value for name, value in told.flags.items() if name not in implied},
        path_files=told.path_files,
        hooks=told.hooks,
        customised=told.customised,
    )


def parse_tag(implementation: str, version: str, abiflags: str) -> str:
    """Return the tag of wheels for this interpreter, "" where it has none that is known."""
    short = {"cpython": "cp", "pypy": "pp"}.get(implementation)
    parts = version.split(".")
    if short is None or len(parts) < 2:
        return ""
    return f"{short}{parts[0]}{parts[1]}" + ("t" if "t" in abiflags else "")


def parse_libc(text: str) -> Libc | None:
    """Read `glibc 2.36`, as confstr gives it, or `musl`."""
    name, _, version = text.strip().partition(" ")
    return Libc(name=name, version=version.strip()) if name else None


def _environment(told: Interpreter) -> str:
    if told.prefix != told.base_prefix:
        return "venv"
    return "system" if told.conda is None else "conda"


def _system_site(told: Interpreter) -> bool:
    """Whether a virtual environment imports from its base installation too."""
    own, base = told.prefix.rstrip("/") + "/", told.base_prefix.rstrip("/") + "/"
    return own != base and any(
        folder.endswith("-packages") and folder.startswith(base) and not folder.startswith(own)
        for folder in told.path
    )
