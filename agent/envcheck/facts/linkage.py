"""What the native libraries of an installed module are linked against."""

from __future__ import annotations

from collections.abc import Iterable

from envcheck.facts.elf import Elf, Read, parse_elf
from envcheck.facts.section import Facts, Scene

_BLOCK = 32 * 1024
_MAX_LIBRARIES = 64
_OF = {"cudart": "cuda", "cublas": "cuda", "cublasLt": "cuda", "cudnn": "cudnn", "nvinfer": "tensorrt"}


class Library(Facts, frozen=True, kw_only=True):
    """One file: the libraries that it needs, in the loader's order, and the identity of its build.

    `search` are the folders that it asks the loader to look into first (RUNPATH); $ORIGIN is its own.
    """

    needs: list[str] = []
    search: list[str] = []
    build_id: str = ""


def libraries(scene: Scene, folder: str, names: Iterable[str]) -> dict[str, Library]:
    """Read the named ELF files of a folder; what is none, or may not be read (noted), is left out."""
    found = {}
    for name in sorted(names)[:_MAX_LIBRARIES]:
        elf = _read_elf(scene, f"{folder}/{name}")
        if elf is not None:
            found[name] = Library(needs=elf.needed, search=elf.search, build_id=elf.build_id)
    return found


def majors(found: Iterable[Library]) -> dict[str, list[str]]:
    """Return which major versions of CUDA, cuDNN and TensorRT are needed; more than one is a conflict."""
    wanted: dict[str, set[str]] = {}
    for library in found:
        for name in library.needs:
            stem, _, version = name.partition(".so.")
            major = version.partition(".")[0]
            if stem.removeprefix("lib") in _OF and major.isascii() and major.isdigit() and len(major) < 4:
                wanted.setdefault(_OF[stem.removeprefix("lib")], set()).add(major)
    return {part: sorted(versions, key=int) for part, versions in sorted(wanted.items())}


def _read_elf(scene: Scene, path: str) -> Elf | None:
    try:
        return parse_elf(_reader(scene, path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError:
        scene.unreadable.append(path)
        return None


def _reader(scene: Scene, path: str) -> Read:
    """Read in blocks, each once: a library's tables lie together, and the file may be huge."""
    blocks: dict[int, bytes] = {}

    def block(number: int) -> bytes:
        if number not in blocks:
            blocks[number] = scene.host.read(path, _BLOCK, number * _BLOCK)
        return blocks[number]

    def read(at: int, length: int) -> bytes:
        if at < 0 or at >> 62:
            return b""
        first, last = at // _BLOCK, (at + length - 1) // _BLOCK
        data = b"".join(block(number) for number in range(first, last + 1))
        return data[at - first * _BLOCK :][:length]

    return read
