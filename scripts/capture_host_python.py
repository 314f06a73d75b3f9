"""What `capture_host.py` copies of one interpreter: the metadata that the probe reads, and nothing more.

The probe itself is run here, on the interpreter's own search path, and everything that it looks at is noted.
Of each file only what a capture draws from it is kept: of METADATA name and version, of RECORD the rows that
make a build's identity, of direct_url.json an URL without credentials, of a library what it is linked to.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from envcheck.facts.asking import more_source, probe_source
from envcheck.facts.elf import Elf
from envcheck.facts.host import Host
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.onnxruntime import parse_assignments
from envcheck.facts.packages import parse_tags, strip_credentials, without_token
from envcheck.facts.tree import Kept

_NAMED = (".dist-info", ".egg-info", ".egg-link", ".pth")
_ZIPS = (".egg", ".whl", ".zip", ".pyz")
_RUNS = b"import sys\n"
_ASKED_ZIP = ("EGG-INFO", ".dist-info", ".egg-info")


@dataclass
class Looked:
    """What the probe looked at: contents of files, folders with the names that count, what is only there."""

    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)


def look(told: Interpreter, host: Host) -> Looked:
    """Let the probe describe the interpreter's search path once more, here, and note what it looks at."""
    found, touched = Looked(), set[str]()
    space: dict[str, Any] = {"__name__": "recorded"}
    exec(compile(probe_source(), "probe", "exec"), space)
    exec(compile(more_source(), "probe_more", "exec"), space["_space"])
    read, header = space["_read"], space["_header"]

    def place(path: str) -> str:
        touched.add(path)
        return host.real(path)

    def noted(path: str, limit: int) -> bytes | None:
        data: bytes | None = read(path, limit)
        if data is not None:
            found.files[path] = reduced(path, data, space)
        return data

    def naming(path: str) -> str | None:
        lines: str | None = header(path)
        if lines is not None:
            found.files[path] = lines.encode() + b"\n"
        return lines

    space["_place"][0], space["_read"], space["_header"] = place, noted, naming
    space["describe"](told.path, {"prefix": told.prefix})
    for path in sorted(touched - found.files.keys()):
        _note(path, Path(host.real(path)), found)
    return found


def _note(path: str, real: Path, found: Looked) -> None:
    """Note a folder with those names in it that a capture looks for, and a zip on the search path."""
    try:
        if real.is_dir():
            names = sorted(item.name for item in real.iterdir())
        elif path.endswith(_ZIPS) and real.is_file():
            found.files[path] = reduced_zip(real)
            return
        else:
            return
    except OSError:
        return
    if path.endswith("/nvidia"):
        kept = names
    else:
        kept = [
            name for name in names if name.endswith(_NAMED) or name == "EGG-INFO" or "onnxruntime" in name
        ]
    found.folders[path] = kept


def reduced(path: str, data: bytes, space: dict[str, Any]) -> bytes:
    """Return what a capture draws from a file of the interpreter's, such that it draws the same again."""
    folder, _, name = path.rpartition("/")
    text = data.decode("utf-8", "replace")
    if name == "RECORD":
        return b"".join(row + b"\n" for row in space["_rows"](data, folder.rpartition("/")[2]))
    if name == "WHEEL":
        return "".join(f"Tag: {tag}\n" for tag in parse_tags(text)).encode()
    if name == "direct_url.json":
        return _without_secrets(text)
    if name.endswith(".pth"):
        lines = [line for line in data.splitlines() if line.strip() and not line.startswith(b"#")]
        return b"".join(
            _RUNS if line.startswith((b"import ", b"import\t")) else line + b"\n" for line in lines
        )
    if folder.endswith("/conda-meta"):
        return _conda(space["_space"]["conda"](name, data))
    if name.endswith(".py"):
        return "".join(f'{key} = "{value}"\n' for key, value in parse_assignments(text).items()).encode()
    return data


def _conda(told: dict[str, Any]) -> bytes:
    channel = strip_credentials(without_token(str(told["channel"])))
    files = [f"lib/site-packages/{stem}.dist-info/RECORD" for stem in told["distributions"]]
    return json.dumps({"channel": channel, "subdir": told["subdir"], "files": files}).encode()


def _without_secrets(text: str) -> bytes:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return b"unreadable"
    if isinstance(told, dict) and isinstance(told.get("url"), str):
        told["url"] = strip_credentials(told["url"])
    return json.dumps(told).encode()


def reduced_zip(path: Path) -> bytes:
    """Return a zip with the same list of members, of which only the metadata have their contents."""
    out = BytesIO()
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as copy:
            for member in source.infolist():
                if member.filename.partition("/")[0].endswith(_ASKED_ZIP):
                    copy.writestr(member, source.read(member))
            # The directory alone tells names, sizes and sums of the others.
            others = [item for item in source.infolist() if item.filename not in copy.NameToInfo]
            copy.filelist.extend(others)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return b"no zip"
    return out.getvalue()


def kept(python: str, told: Interpreter, change: Callable[[str], str]) -> bytes:
    """Return the interpreter's answer without what its files tell anyway, every text of it changed."""
    bare = msgspec.structs.replace(
        told, distributions=[], vendored=[], conda=None, unreadable=[], hooks=[], path_files=[], files={},
        folders={},
    )  # fmt: skip
    return texts_changed(Kept(python, bare), change)


def texts_changed(value: Any, change: Callable[[str], str]) -> bytes:
    """Return JSON in which every text was changed."""

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            return change(part)
        if isinstance(part, dict):
            return {key: walk(item) for key, item in part.items()}
        return [walk(item) for item in part] if isinstance(part, list) else part

    return json.dumps(walk(msgspec.to_builtins(value)), indent=1).encode() + b"\n"


def make_elf(elf: Elf) -> bytes:
    """Write the smallest library of which `parse_elf` tells the same: 64 bits, little-endian."""
    strings, entries = b"\0", []
    runpath = ":".join(elf.search)
    for tag, name in [*((1, name) for name in elf.needed), (14, elf.soname), (29, runpath)]:
        if name:
            entries.append((tag, len(strings)))
            strings += name.encode() + b"\0"
    strings += b"\0" * (-len(strings) % 8)
    build = bytes.fromhex(elf.build_id)
    note = struct.pack("<III", 4, len(build), 3) + b"GNU\0" + build if build else b""
    note += b"\0" * (-len(note) % 8)
    at_strings = 64 + 3 * 56
    at_note = at_strings + len(strings)
    at_dynamic = at_note + len(note)
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in [*entries, (5, at_strings), (0, 0)])
    head = (
        b"\x7fELF\2\1\1"
        + b"\0" * 9
        + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    )
    parts = ((1, 0, at_dynamic + len(dynamic)), (4, at_note, len(note)), (2, at_dynamic, len(dynamic)))
    table = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 8) for kind, at, size in parts)
    return head + table + strings + note + dynamic


def shortened(path: str, data: bytes) -> bool:
    """Whether a file is a native library of onnxruntime, of which only the linkage is read."""
    return bool(re.search(r"/onnxruntime/capi/[^/]*\.so[.\d]*$", path)) and data.startswith(b"\x7fELF")
