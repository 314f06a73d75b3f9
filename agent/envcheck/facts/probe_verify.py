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
        """Verify what is installed in one folder."""
        try:
            names = sorted(os.listdir(self.resolve(folder)))
        except OSError:
            return
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
            with open(self.resolve(os.path.join(folder, info, "RECORD")), "rb") as file:
                text = file.read(_RECORD_LIMIT).decode("utf-8", "surrogateescape")
        except OSError:
            return
        self.distributions += 1
        for row in csv.reader(text.splitlines()):
            if row and "\0" not in row[0] and not row[0].endswith(".pyc"):
                yield os.path.normpath(row[0]), (row[1:2] or [""])[0], (row[2:3] or [""])[0]

    def row(self, folder: str, info: str, path: str, wanted: str, size: str) -> None:
        """Hold one file to its row."""
        name, separator, digest = wanted.partition("=")
        if separator and name not in hashlib.algorithms_guaranteed:
            self.tell(info, "unread", path)
            return
        try:
            with open(
                os.open(self.resolve(os.path.join(folder, path)), os.O_RDONLY | os.O_NONBLOCK), "rb", 0
            ) as file:
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
        start = self.resolve(os.path.join(folder, top))
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
