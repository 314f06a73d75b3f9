"""Where the dynamic loader would find CUDA's libraries: its cache, its search path, pip's packages."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from envcheck.facts.section import Scene

# The ones that CUDA's execution providers load.
_NAMES = frozenset(
    b"cuda cudart cublas cublasLt cudnn cufft curand cusolver cusparse nvinfer nvonnxparser nvrtc nvJitLink "
    b"nvidia-ml".split()
)
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("=20s2I20x")
_ENTRY = struct.Struct("=iIIIQ")
_MAX_ENTRIES = 100_000
_MAX_PATH = 4096
_MAX_FOLDERS = 64


class Place(msgspec.Struct, frozen=True):
    """A library: its file's path, and who leads there (`LD_LIBRARY_PATH`, `ld.so.cache` or `pip`)."""

    path: str
    origin: str


def parse_ld_cache(data: bytes) -> list[str]:
    """Return the sorted names of CUDA's libraries in ld.so.cache; what is malformed is left out."""
    return sorted(ld_cache_paths(data))


def ld_cache_paths(data: bytes) -> dict[str, str]:
    """Return the paths of CUDA's libraries in ld.so.cache by their names; the first one of a name counts."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) - start < _HEADER.size or not (b"libcu" in data or b"libnv" in data):
        return {}
    table = data[start:]
    _, count, _ = _HEADER.unpack_from(table)
    room = (len(table) - _HEADER.size) // _ENTRY.size
    found: dict[str, str] = {}
    for index in range(min(count, room, _MAX_ENTRIES)):
        _, key, value, _, _ = _ENTRY.unpack_from(table, _HEADER.size + index * _ENTRY.size)
        name = table[key : key + 64].partition(b"\0")[0]
        if _is_wanted(name):
            path = table[value : value + _MAX_PATH].partition(b"\0")[0]
            found.setdefault(name.decode("ascii"), path.decode("utf-8", "replace"))
    return found


def find_libraries(scene: Scene, pip_folders: Iterable[str]) -> dict[str, Place]:
    """Return CUDA's libraries by name, each where the loader looks first.

    Those of pip's packages come last: only a program that loads them by their path finds them.
    """
    found: dict[str, Place] = {}
    searched = _variables(scene).get("LD_LIBRARY_PATH", "").split(":")
    for name, path in _in_folders(scene, searched):
        found.setdefault(name, Place(path, "LD_LIBRARY_PATH"))
    for name, path in ld_cache_paths(scene.data("/etc/ld.so.cache") or b"").items():
        if not _is_gone(scene, path):
            found.setdefault(name, Place(path, "ld.so.cache"))
    for name, path in _in_folders(scene, pip_folders):
        found.setdefault(name, Place(path, "pip"))
    return dict(sorted(found.items()))


def _variables(scene: Scene) -> Mapping[str, str]:
    target = scene.target
    return target.variables(scene.host) if target.container else target.starting(scene.host)


def library_version(scene: Scene, path: str) -> str:
    """Return the version that a library's file has in its name, links followed; "" when there is none.

    libcudart.so.12 is a link to libcudart.so.12.4.127.
    """
    best = _version(path)
    for _ in range(4):
        leads = scene.link(path)
        if leads is None:
            break
        path = leads if leads.startswith("/") else f"{path.rpartition('/')[0]}/{leads}"
        best = max(best, _version(path), key=lambda version: version.count("."))
    return best


def _is_gone(scene: Scene, path: str) -> bool:
    """Whether a file that the cache names was removed since; a captured tree holds none of them."""
    if not scene.host.live:
        return False
    try:
        os.stat(scene.host.real(path))  # noqa: PTH116 a path of another root
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_wanted(name: bytes) -> bool:
    """Whether a file's name is one of CUDA's libraries, with or without a version."""
    stem, _, version = name.partition(b".so")
    return stem[:3] == b"lib" and stem[3:] in _NAMES and not version.strip(b".0123456789") and b".so" in name


def _version(path: str) -> str:
    version = path.rpartition(".so.")[2] if ".so." in path else ""
    return "" if version.strip(".0123456789") else version[:32].rstrip(".")


def _in_folders(scene: Scene, folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    for folder in [folder for folder in folders if folder.startswith("/")][:_MAX_FOLDERS]:
        for name in scene.names(folder):
            if _is_wanted(name.encode("utf-8", "replace")):
                yield name, f"{folder.rstrip('/')}/{name}"
