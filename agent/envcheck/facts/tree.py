"""An interpreter that is only read: in a mounted image or captured tree, or built for another machine.

What it would import is found as its `site` module finds it, from its files alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from envcheck.facts.executable import HEADER_BYTES, Executable, parse_executable
from envcheck.facts.host import Host, Target
from envcheck.facts.interpreter import Interpreter

_LIBRARY = re.compile(r"(python|pypy)(3\.\d{1,2})t?")
_SUFFIX = re.compile(r"\.((?:cpython|pypy)[\w.-]*)\.so")
_EMBEDDED_LIMIT = 64 * 1024 * 1024
# Where a login shell or a unit would find python3, in that order.
_BINARIES = ("/usr/local/bin", "/usr/bin", "/bin")
_LIBRARIES = ("lib", "lib64")
ANSWER = "interpreter.json"


class Kept(msgspec.Struct, frozen=True):
    """An answer that a captured tree keeps: of which interpreter, and what it told of itself and its path."""

    python: str
    told: Interpreter


def find_interpreter(host: Host) -> str:
    """Return the path of the interpreter that a tree has in its usual places, "" when it has none.

    A captured tree may hold the packages and not the program: then the path is where it would be.
    """
    for folder in _BINARIES:
        if _is_file(host, f"{folder}/python3"):
            return f"{folder}/python3"
    for prefix in ("/usr/local", "/usr"):
        found = sorted((_order(name), name) for name in _libraries(host, prefix))
        if found:
            return f"{prefix}/bin/{found[-1][1]}"
    return ""


def is_installed(python: str, host: Host) -> bool:
    """Whether the library of an interpreter is there; the program itself may not have been captured."""
    return _kept(python, host) is not None or bool(_layout(python, host).library)


def why_not_run(path: str, host: Host) -> str:
    """Say why an interpreter whose files are here can't be run on this machine, "" when that is not so.

    The words hold no path, since they enter digests.
    """
    built = _executable(host, path)
    if built is None or not _layout(path, host).library:
        return ""
    own = os.uname().machine
    if built.machine != own and not (own == "x86_64" and built.machine == "i686"):
        return f"it is built for {built.machine}"
    if built.loader and not os.path.exists(built.loader):  # noqa: PTH110 of this machine, not of the tree
        return f"its loader {os.path.basename(built.loader)} is not here"  # noqa: PTH119
    return ""


def known(target: Target, host: Host) -> str:
    """Return the probe's order: root, search path, and what is known of the interpreter, as JSON.

    What a captured tree keeps of the interpreter's own answer is known; else its files tell.
    """
    kept = _kept(target.python, host) if target.isolated else None
    if kept is not None:
        order = {"root": host.tree, "path": kept.path, "sites": [], "interpreter": msgspec.to_builtins(kept)}
        return json.dumps(order)
    layout = _layout(target.python, host)
    built = _executable(host, target.python)
    first = [] if target.isolated else target.starting(host).get("PYTHONPATH", "").split(":")
    interpreter: dict[str, object] = {
        "implementation": "pypy" if layout.library.startswith("pypy") else "cpython",
        "version": _version(layout, host),
        "build": "",
        "abi": _abi(layout, host),
        "abiflags": "t" if layout.library.endswith("t") else "",
        "gil": None,
        "machine": built.machine if built else "",
        "bits": built.bits if built else 0,
        "byteorder": built.byteorder if built else "",
        "libc": _libc(built),
        "executable": target.python,
        "prefix": layout.prefix,
        "base_prefix": layout.base,
        "flags": {},
        "user_site": None,
        "customised": [],
        "unasked": target.unasked,
    }
    path = [*(folder for folder in first if folder), *layout.standard]
    order = {"root": host.tree, "path": path, "sites": layout.sites, "interpreter": interpreter}
    return json.dumps(order)


def _kept(python: str, host: Host) -> Interpreter | None:
    """Return what the interpreter told when this tree was captured, None when it holds no such answer."""
    try:
        found = msgspec.json.decode(host.answer(ANSWER, lambda: b""), type=Kept)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found.told if found.python == python else None


@dataclass(frozen=True)
class _Layout:
    """Where the parts of an installation lie; `library` is the folder's name, like python3.11."""

    executable: str
    prefix: str
    base: str
    library: str
    standard: list[str]
    sites: list[str]
    version: str = ""


def _layout(python: str, host: Host) -> _Layout:
    settings = _pyvenv(python, host)
    prefix = _above(python)
    if settings is None:
        real = _linked(python, host)
        base = prefix = _above(real)
    else:
        real = _linked(python, host)
        base = _above(settings.get("home", "/usr/bin").rstrip("/") + "/python")
    library = _library(host, [prefix, base], os.path.basename(real), settings or {})  # noqa: PTH119
    sites = list(_sites(host, base, library))
    if settings is not None:
        own = [f"{prefix}/{folder}/{library}/site-packages" for folder in _LIBRARIES]
        shared = sites if settings.get("include-system-site-packages", "").lower() == "true" else []
        sites = [*_distinct(host, own), *shared]
    standard = [f"{base}/lib/{library}", f"{base}/lib/{library}/lib-dynload"]
    version = (settings or {}).get("version") or (settings or {}).get("version_info", "")
    return _Layout(real, prefix, base, library, standard if library else [], sites, version)


def _sites(host: Host, base: str, library: str) -> Iterator[str]:
    """Yield the folders for packages of an installation in the order of its own `site` module."""
    if not library:
        return
    major = library.partition(".")[0]
    debian = f"{base}/lib/{major}/dist-packages"
    if _is_folder(host, debian):
        choices = [f"{base}/local/lib/{library}/dist-packages", debian, f"{base}/lib/{library}/dist-packages"]
    else:
        choices = [f"{base}/{folder}/{library}/site-packages" for folder in _LIBRARIES]
        if base == "/usr":
            choices = [f"/usr/local/{folder}/{library}/site-packages" for folder in _LIBRARIES] + choices
    yield from _distinct(host, choices)


def _distinct(host: Host, folders: list[str]) -> list[str]:
    """Return the folders that are there, one that is reached under two names once."""
    seen: dict[str, str] = {}
    for folder in folders:
        if _is_folder(host, folder):
            seen.setdefault(os.path.realpath(host.real(folder)), folder)
    return list(seen.values())


def _library(host: Host, prefixes: list[str], program: str, settings: dict[str, str]) -> str:
    """Name the library's folder: of the program's own version, or the environment's, or the newest."""
    said = settings.get("version") or settings.get("version_info", "")
    wanted = "python" + ".".join(said.split(".")[:2])
    for prefix in prefixes:
        found = sorted(_libraries(host, prefix), key=_order)
        for name in (program, wanted):
            if name in found:
                return name
        if found:
            return found[-1]
    return ""


def _libraries(host: Host, prefix: str) -> list[str]:
    names = []
    for folder in _LIBRARIES:
        try:
            names += [name for name in host.names(f"{prefix}/{folder}") if _LIBRARY.fullmatch(name)]
        except OSError:
            continue
    return names


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name))


def _pyvenv(python: str, host: Host) -> dict[str, str] | None:
    """Read pyvenv.cfg beside or above the program; None when it is no virtual environment's."""
    folder = python.rpartition("/")[0]
    for place in (folder, folder.rpartition("/")[0]):
        try:
            text = host.read(f"{place}/pyvenv.cfg").decode("utf-8", "replace")
        except OSError:
            continue
        lines = [line.partition("=") for line in text.splitlines()]
        return {name.strip().lower(): value.strip() for name, _, value in lines}
    return None


def _linked(path: str, host: Host) -> str:
    """Return the path, as the tree sees it, that a chain of links ends at."""
    try:
        real = os.path.realpath(path) if host.tree == "/" else host.real(path)
    except OSError:
        return path
    return real if host.tree == "/" else "/" + os.path.relpath(real, host.tree)


def _version(layout: _Layout, host: Host) -> str:
    """Return the whole version where the files tell it, else its first two parts.

    The program, or the library that it is made of, holds PY_VERSION as the end of a text.
    """
    match = _LIBRARY.fullmatch(layout.library)
    minor = match.group(2) if match else ""
    said = ".".join(layout.version.split(".")[:3])
    if re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?", said):
        return said
    pattern = re.compile(
        rb"(?<![\d.])(" + re.escape(minor).encode() + rb"\.\d{1,2}(?:(?:a|b|rc)\d{1,2})?)\+?\0"
    )
    # Before Python 3.8 the library of a build with pymalloc was called so.
    names = [f"{folder}/lib{layout.library}{m}.so.1.0" for folder in _LIBRARIES for m in ("", "m")]
    for path in (layout.executable, *(f"{layout.base}/{name}" for name in names)):
        try:
            found = set(pattern.findall(host.read(path, _EMBEDDED_LIMIT)))
        except OSError:
            continue
        if len(found) == 1:
            return str(found.pop().decode("ascii"))
    return minor


def _abi(layout: _Layout, host: Host) -> str:
    """Return the tag that the standard library's extension modules bear."""
    for folder in layout.standard:
        try:
            tags = {match.group(1) for name in host.names(folder) if (match := _SUFFIX.search(name))}
        except OSError:
            continue
        if len(tags) == 1:
            return tags.pop()
    return ""


def _libc(built: Executable | None) -> str:
    loader = built.loader if built else ""
    return "musl" if "ld-musl" in loader else "glibc" if "ld-linux" in loader else ""


def _executable(host: Host, path: str) -> Executable | None:
    try:
        return parse_executable(host.read(path, HEADER_BYTES))
    except OSError:
        return None


def _above(path: str) -> str:
    """Return the folder above the program's bin."""
    return os.path.dirname(os.path.dirname(path)) or "/"  # noqa: PTH120


def _is_folder(host: Host, path: str) -> bool:
    try:
        return os.path.isdir(host.real(path))  # noqa: PTH112
    except OSError:
        return False


def _is_file(host: Host, path: str) -> bool:
    try:
        return os.path.isfile(host.real(path))  # noqa: PTH113
    except OSError:
        return False
