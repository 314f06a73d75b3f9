"""Hash what is installed and hold it to the RECORD of each distribution.

Runs like `probe.py` in the measured interpreter or, for a tree that is only read, in the agent's: Python 3.6
to 3.14, standard library only, nothing changed. Arguments: a JSON order (search path, root, seconds) and the
text of `probe_more.py`. It prints one line: MARKER and a JSON document.
"""

import base64
import csv
import hashlib
import json
import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

MARKER = b"envcheck-verify-1 "
_CHUNK = 1024 * 1024
_RECORD_LIMIT = 32 * 1024 * 1024
# Below the reader's own limit on a field.
_ROW_LIMIT = 100000
_LINES_JOINED = 16
_NAMES_TOLD = 50
_FILES_LIMIT = 2000000


def main() -> None:
    """Print the document."""
    order = json.loads(sys.argv[1])
    resolve = str  # type: Callable[[str], str]
    if order["root"] != "/":
        space = {}  # type: dict[str, Any]
        exec(compile(sys.argv[2], "probe_more", "exec"), space)  # noqa: S102 our own text, when needed
        resolve = space["inside"](order["root"])
    told = Verification(resolve, time.monotonic() + order["seconds"]).of(order["path"])
    data = b"\n" + MARKER + json.dumps(told).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]


class OutOfTime(Exception):
    """The seconds are over."""


class Verification:
    """One look at every file of every distribution; `resolve` tells where a path really lies."""

    def __init__(self, resolve: "Callable[[str], str]", deadline: float) -> None:
        self.resolve = resolve
        self.deadline = deadline
        self.files = 0
        self.bytes = 0
        self.distributions = 0
        self.found = {}  # type: dict[str, dict[str, list[str]]]
        self.unowned = []  # type: list[str]
        self.seen = set()  # type: set[tuple[int, int]]

    def of(self, path: "list[str]") -> "dict[str, object]":
        """Verify the folders of a search path."""
        complete = True
        try:
            for folder in path:
                self.folder(folder)
        except OutOfTime:
            complete = False
        return {
            "complete": complete,
            "distributions": self.distributions,
            "files": self.files,
            "bytes": self.bytes,
            "unowned": _some(self.unowned),
            "found": [
                {"file": info, **{kind: _some(names) for kind, names in kinds.items()}}
                for info, kinds in sorted(self.found.items())
            ],
        }

    def folder(self, folder: str) -> None:
        """Verify what is installed in one folder, that of two names once (lib64 is a link to lib)."""
        try:
            place = self.resolve(folder)
            state = os.stat(place)
            names = sorted(os.listdir(place))
        except (OSError, ValueError):
            return
        if (state.st_dev, state.st_ino) in self.seen:
            return
        self.seen.add((state.st_dev, state.st_ino))
        owners = {}  # type: dict[str, str]
        for info in names:
            if info.endswith(".dist-info"):
                for path, wanted, size in self.record(folder, info):
                    owners[path] = info
                    self.row(folder, info, path, wanted, size)
        if owners:
            old = any(name.endswith((".egg-info", ".egg-link")) for name in names)
            self.strangers(folder, owners, [] if old else names)

    def record(self, folder: str, info: str) -> "Iterator[tuple[str, str, str]]":
        """Yield path below the folder, hash and size of each row; byte code is left out."""
        try:
            with self.opened(folder, info, "RECORD") as file:
                text = file.read(_RECORD_LIMIT).decode("utf-8", "surrogateescape")
        except OSError:
            return
        self.distributions += 1
        for path, wanted, size in rows(text):
            if path and not path.endswith(".pyc"):
                yield os.path.normpath(path), wanted, size

    def row(self, folder: str, info: str, path: str, wanted: str, size: str) -> None:
        """Hold one file to its row."""
        name, separator, digest = wanted.partition("=")
        # Those of any length have no digest of their own.
        if separator and (name not in hashlib.algorithms_guaranteed or name.startswith("shake_")):
            self.tell(info, "unread", path)
            return
        try:
            with self.opened(folder, path) as file:
                state = os.fstat(file.fileno())
                same = stat.S_ISREG(state.st_mode) and (not size.isdigit() or int(size) == state.st_size)
                same = same and (not separator or self.digest(file, name) == digest.rstrip("="))
        except (FileNotFoundError, NotADirectoryError):
            self.tell(info, "missing", path)
            return
        except (OSError, ValueError):
            self.tell(info, "unread", path)
            return
        self.files += 1
        if not same:
            self.tell(info, "modified", path)

    def opened(self, *parts: str) -> "Any":
        """Open a file to be read; a named pipe in its place does not block."""
        return open(os.open(self.resolve(os.path.join(*parts)), os.O_RDONLY | os.O_NONBLOCK), "rb", 0)

    def digest(self, file: "Any", name: str) -> str:
        """Hash a file as RECORD writes it."""
        whole = hashlib.new(name)
        while True:
            if time.monotonic() > self.deadline:
                raise OutOfTime
            chunk = file.read(_CHUNK)
            if not chunk:
                return base64.urlsafe_b64encode(whole.digest()).rstrip(b"=").decode("ascii")
            whole.update(chunk)
            self.bytes += len(chunk)

    def strangers(self, folder: str, owners: "dict[str, str]", names: "list[str]") -> None:
        """Find files that no RECORD names, in folders of distributions and beside them."""
        folders = {}  # type: dict[str, str]
        for path, info in owners.items():
            while "/" in path and not path.startswith(("/", "..")):
                path = path.rpartition("/")[0]
                folders.setdefault(path, info)
        for top in sorted({path for path in folders if "/" not in path}):
            for path in self.walk(folder, top):
                if path not in owners:
                    self.tell(_nearest(path, folders), "extra", path)
        for name in names:
            known = name in folders or name in owners or name.endswith(".dist-info")
            if not known and name != "__pycache__" and not name.endswith(".pyc"):
                self.unowned.append(_text(name))

    def walk(self, folder: str, top: str) -> "Iterator[str]":
        """Yield the files below one folder, byte code left out."""
        try:
            start = self.resolve(os.path.join(folder, top))
        except OSError:
            return
        count = 0
        for place, inner, files in os.walk(start):
            inner[:] = sorted(name for name in inner if name != "__pycache__")
            for name in sorted(files):
                count += 1
                if count > _FILES_LIMIT or time.monotonic() > self.deadline:
                    raise OutOfTime
                if not name.endswith((".pyc", ".pyo")):
                    yield os.path.normpath(os.path.join(top, os.path.relpath(place, start), name))

    def tell(self, info: str, kind: str, path: str) -> None:
        """Note one file."""
        self.found.setdefault(_text(info), {}).setdefault(kind, []).append(_text(path))


def rows(text: str) -> "Iterator[tuple[str, str, str]]":
    """Yield path, hash and size of each row of a RECORD; a row that is none ends the reading of no other.

    Lines end where files' lines do, not at every character that Unicode takes for an end.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        count = _lines_of_row(lines, at)
        line = "\n".join(lines[at : at + count])
        at += count
        if not line or "\0" in line or len(line) > _ROW_LIMIT:
            continue
        try:
            row = next(csv.reader([line]), [])
        except csv.Error:
            continue
        path, wanted, size = [*row, "", "", ""][:3]
        yield path, wanted, size


def _lines_of_row(lines: "list[str]", at: int) -> int:
    """Return how many lines the row takes that begins at `at`: a quoted name may hold their ends."""
    quotes = 0
    if lines[at].startswith('"'):
        for count, line in enumerate(lines[at : at + _LINES_JOINED], 1):
            quotes += line.count('"')
            if quotes % 2 == 0:
                return count
    return 1


def _nearest(path: str, folders: "dict[str, str]") -> str:
    while path not in folders:
        path = path.rpartition("/")[0]
    return folders[path]


def _some(names: "list[str]") -> "dict[str, object]":
    return {"count": len(names), "names": sorted(names)[:_NAMES_TOLD]}


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


if __name__ == "__main__":
    main()
