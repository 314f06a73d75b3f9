"""What one interpreter would import, told by that interpreter itself.

This file runs inside the measured interpreter, whatever serves the model: Python 3.6 to 3.14, standard
library only, sent to it as text. It reads and tells, judges nothing and changes nothing. Parsing what it
tells is the agent's part (`interpreter.py`). It prints one line: MARKER and a JSON document in ASCII.

Arguments: the text of `probe_more.py`, compiled only where it is needed; and, for the interpreter of a tree
that is only read, a JSON document of its root, its search path and what is known of it.
"""

import errno
import os
import sys
from bisect import bisect_left

# Importing the module `json` would take longer than all writing; this one function is in the interpreter.
# Likewise `hashlib`, which loads OpenSSL.
try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b
try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:
    from json.encoder import py_encode_basestring_ascii as _quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MARKER = b"envcheck-probe-1 "
_HEADER_LIMIT = 64 * 1024
_HEADER_BLOCK = 2048
_RECORD_LIMIT = 32 * 1024 * 1024
_LISTING_LIMIT = 20000
# Of a large package the list of files alone takes megabytes, and some of what counts comes after it.
_CONDA_LIMIT = 64 * 1024 * 1024
# Not `utf8_mode`: it follows the locale of whoever calls, and changes no number.
_FLAGS = ("debug", "optimize", "no_user_site", "no_site", "ignore_environment", "isolated", "safe_path")

# Files and folders that are there and may not be read: `main` runs once, so one list serves.
_unreadable = []  # type: list[str]
# What `probe_more.py` defines.
_space = {}  # type: dict[str, Any]
# Where a path really lies: in a tree that is only read, links lead nowhere outside.
_place = [None]  # type: list[Callable[[str], str] | None]

# Files and folders that other sections read, found where `import` would find them: first on sys.path wins.
_FILES = (
    "onnxruntime/__init__.py",
    "onnxruntime/capi/build_and_package_info.py",
    "torch/version.py",
)
_OWNED = ("onnxruntime",)
_FOLDERS = ("onnxruntime/capi", "nvidia")

# Rows that differ between two installations of one wheel, or that the installer itself adds.
_INSTALLER_FILES = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")


def main() -> None:
    """Print the document."""
    document = _tree(sys.argv[2]) if len(sys.argv) > 2 else describe(_search_path(), _interpreter())
    data = b"\n" + MARKER + _json(document).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]


def describe(path: "list[str]", document: "dict[str, object]") -> "dict[str, object]":
    """Add to what is known of an interpreter what lies on its search path; plain data."""
    found = []  # type: list[dict[str, object]]
    vendored = []  # type: list[dict[str, object]]
    pths = {}  # type: dict[str, tuple[bool, bool]]
    seen = set()  # type: set[tuple[int, int]]
    for folder in path:
        names = _new_names(folder, seen)
        links = {name[:-9].lower().replace("_", "-") for name in names if name.endswith(".egg-link")}
        inner = [name for name in names if "." not in name and _is(_is_there, folder, name, "_vendor")]
        for name in names:
            if name.endswith(".pth"):
                pths[_text(name)] = _pth(_read(os.path.join(folder, name), _HEADER_LIMIT))
            elif name.endswith((".dist-info", ".egg-info")) or (
                name == "EGG-INFO" and folder.endswith(".egg")
            ):
                found.append(_distribution(folder, name, inner))
        if not names and folder.endswith((".egg", ".whl", ".zip", ".pyz")) and _is(os.path.isfile, folder):
            found.extend(_more("zipped")(_at(folder), _text(folder), identity))
        found.extend({"linked": _text(link)} for link in sorted(links))
        vendored.extend(_vendored(folder, name) for name in inner)
    document["path"] = [_text(folder) for folder in path]
    document["distributions"] = found
    document["vendored"] = vendored
    document["conda"] = _conda(str(document["prefix"]))
    document["unreadable"] = [_text(folder) for folder in _unreadable]
    document["hooks"] = sorted(name for name, (runs, _) in pths.items() if runs)
    document["path_files"] = sorted(name for name, (_, adds) in pths.items() if adds)
    document["files"] = {name: _first_file(path, name) for name in _FILES}
    document["folders"] = {name: _first_folder(path, name) for name in _FOLDERS}
    return document


def _tree(order: str) -> "dict[str, object]":
    """Describe the interpreter of a tree that is only read."""
    import json

    told = json.loads(order)
    _place[0] = _more("inside")(told["root"])
    path = _more("site_path")(told["path"], told["sites"], _read, _at)
    return describe(path, told["interpreter"])


def _more(name: str) -> "Callable[..., Any]":
    """Return a function of `probe_more.py`."""
    if not _space:
        exec(compile(sys.argv[1], "probe_more", "exec"), _space)  # noqa: S102 our own text, when needed
    return _space[name]  # type: ignore[no-any-return]


def _is(check: "Callable[[str], bool]", *parts: str) -> bool:
    try:
        return check(_at(*parts))
    except (OSError, ValueError):
        return False


def _is_there(path: str) -> bool:
    return os.access(path, os.F_OK)


def _at(*parts: str) -> str:
    """Return where a path really lies; raises OSError for a loop of links in a tree."""
    path = os.path.join(*parts)
    return path if _place[0] is None else _place[0](path)


def _interpreter() -> "dict[str, object]":
    import _imp

    suffix = (_imp.extension_suffixes() or [""])[0]
    base = getattr(sys, "base_prefix", sys.prefix)
    site = sys.modules.get("site")
    gil = getattr(sys, "_is_gil_enabled", None)
    return {
        "implementation": sys.implementation.name,
        "version": ".".join(str(part) for part in sys.version_info[:3]) + _level(),
        "build": " ".join(sys.version.split()),
        "abi": suffix[1:].rpartition(".")[0],
        "abiflags": getattr(sys, "abiflags", ""),
        "gil": None if gil is None else bool(gil()),
        "machine": os.uname().machine,
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "byteorder": sys.byteorder,
        "libc": _libc(),
        "executable": _text(sys.executable or ""),
        "prefix": _text(sys.prefix),
        "base_prefix": _text(base),
        "flags": {flag: int(getattr(sys.flags, flag)) for flag in _FLAGS if getattr(sys.flags, flag, 0)},
        "user_site": getattr(site, "ENABLE_USER_SITE", None),
        "user_folder": _text(getattr(site, "USER_SITE", None) or ""),
        "customised": [name for name in ("sitecustomize", "usercustomize") if name in sys.modules],
        "container": _container(),
    }


def _level() -> str:
    short = {"alpha": "a", "beta": "b", "candidate": "rc"}.get(sys.version_info.releaselevel, "")
    return short + str(sys.version_info.serial) if short else ""


def _libc() -> str:
    try:
        return str(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, OSError, ValueError):
        names = os.listdir("/lib") if os.path.isdir("/lib") else []
        return "musl" if any(name.startswith("ld-musl-") for name in names) else ""


def _container() -> str:
    marks = (("podman", "/run/.containerenv"), ("docker", "/.dockerenv"))
    return next((kind for kind, mark in marks if _is_there(mark)), "")


def _search_path() -> "list[str]":
    """Return sys.path without the folder that `-c` itself put there (the current one).

    What is no text (a Path that a start-up hook added) is passed over, as `import` does.
    """
    return [folder for folder in sys.path if folder and isinstance(folder, str)]


def _new_names(folder: str, seen: "set[tuple[int, int]]") -> "list[str]":
    """List a folder that was not listed under another name before."""
    try:
        real = _at(folder)
        state = os.stat(real)
        if (state.st_dev, state.st_ino) in seen:
            return []
        seen.add((state.st_dev, state.st_ino))
        return sorted(os.listdir(real))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError):
        _unreadable.append(folder)
        return []


def _distribution(folder: str, name: str, inner: "list[str]") -> "dict[str, object]":
    base = os.path.join(folder, name)
    kind = "egg-info" if name.endswith(".egg-info") else "egg" if name == "EGG-INFO" else "dist-info"
    entry = {"folder": _text(folder), "file": _text(name), "kind": kind}  # type: dict[str, object]
    plain = kind == "egg-info" and _is(os.path.isfile, base)
    entry["metadata"] = _header(
        base if plain else base + ("/METADATA" if kind == "dist-info" else "/PKG-INFO")
    )
    if kind != "dist-info":
        return entry
    entry["wheel"] = _text_of(_read(os.path.join(base, "WHEEL"), _HEADER_LIMIT))
    entry["installer"] = _text_of(_read(os.path.join(base, "INSTALLER"), 256))
    entry["direct_url"] = _text_of(_read(os.path.join(base, "direct_url.json"), _HEADER_LIMIT))
    record = _read(os.path.join(base, "RECORD"), _RECORD_LIMIT)
    if record is not None:
        rows = _rows(record, name)
        entry["build"] = _digest(rows)
        entry["owns"] = _owned(record)
        entry["vendors"] = [owned for owned in inner if _holds(rows, owned + "/_vendor/")]
    return entry


def _header(path: str) -> "str | None":
    """Return the lines of the metadata's header that name the distribution; they mostly come first."""
    head = _read(path, _HEADER_BLOCK)
    if head is None:
        return None
    whole = len(head) < _HEADER_BLOCK
    # The last line of a block may go on beyond it: half a version is another one.
    wanted = _naming_lines(head if whole else head.rpartition(b"\n")[0])
    if len(wanted) < 2 and not whole:
        wanted = _naming_lines(_read(path, _HEADER_LIMIT) or b"")
    return _text_of(b"\n".join(wanted))


def _naming_lines(metadata: bytes) -> "list[bytes]":
    head = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return [line for line in head.split(b"\n") if line[:8].lower().startswith((b"name:", b"version:"))]


def _rows(record: bytes, info: str) -> "list[bytes]":
    """Return the sorted rows of a RECORD that tell what was built: those with a hash.

    Without files outside site-packages, byte code and what the installer adds.
    """
    # Rows without a hash are byte code that pip made, and RECORD itself. This is the hot loop of a capture:
    # comparing the last byte (a comma is 44) makes no objects.
    rows = [row for row in record.splitlines() if row and (row[-1] != 44 or row[-2:] != b",,")]
    if b".pyc,sha" in record:
        rows = [row for row in rows if b".pyc,sha" not in row]
    rows.sort()
    # Once sorted, what is to be left out lies together: outside paths, and single rows.
    for first, beyond in ((b"../", b"..0"), (b'"../', b'"..0'), (b"/", b"0")):
        del rows[bisect_left(rows, first) : bisect_left(rows, beyond)]
    for name in _INSTALLER_FILES:
        row = (info + "/" + name + ",").encode("utf-8", "surrogateescape")
        at = bisect_left(rows, row)
        if rows[at : at + 1] and rows[at].startswith(row):
            del rows[at]
    return rows


def identity(record: bytes, info: str) -> str:
    """Return the build identity of a RECORD, equal for one wheel in two environments, "" without hashes."""
    return _digest(_rows(record, info))


def _digest(rows: "list[bytes]") -> str:
    return blake2b(b"\n".join(rows), digest_size=16).hexdigest() if rows else ""


def _holds(rows: "list[bytes]", folder: str) -> bool:
    start = folder.encode("utf-8", "surrogateescape")
    at = bisect_left(rows, start)
    return at < len(rows) and rows[at].startswith(start)


def _vendored(folder: str, name: str) -> "dict[str, object]":
    """Name the distributions that a package carries inside itself, as the files' names tell."""
    try:
        names = os.listdir(_at(folder, name, "_vendor"))[:_LISTING_LIMIT]
    except OSError:
        names = []
    found = sorted(_text(item) for item in names if item.endswith((".dist-info", ".egg-info")))
    return {"folder": _text(folder), "within": _text(name), "files": found}


def _conda(prefix: str) -> "list[dict[str, object]] | None":
    """Tell what conda installed; None where there is no conda environment."""
    try:
        names = sorted(os.listdir(_at(prefix, "conda-meta")))[:_LISTING_LIMIT]
    except OSError:
        return None
    tell = _more("conda")
    return [
        tell(_text(name), _read(os.path.join(prefix, "conda-meta", name), _CONDA_LIMIT) or b"")
        for name in names
        if name.endswith(".json")
    ]


def _owned(record: bytes) -> "list[str]":
    """Name the modules of interest whose files a RECORD lists."""
    found = []
    for name in _OWNED:
        row = (name + "/__init__.py,").encode("ascii")
        if record.startswith(row) or b"\n" + row in record:
            found.append(name)
    return found


def _pth(data: "bytes | None") -> "tuple[bool, bool]":
    """Tell whether a .pth file runs code when the interpreter starts, and whether it names folders."""
    lines = [line for line in (data or b"").splitlines() if line.strip() and not line.startswith(b"#")]
    runs = [line.startswith((b"import ", b"import\t")) for line in lines]
    return any(runs), not all(runs)


def _first_file(path: "list[str]", name: str) -> "str | None":
    for folder in path:
        if _is(os.path.isdir, folder, os.path.dirname(name)):
            return _text_of(_read(os.path.join(folder, name), _HEADER_LIMIT))
    return None


def _first_folder(path: "list[str]", name: str) -> "list[str] | None":
    for folder in path:
        try:
            return [_text(item) for item in sorted(os.listdir(_at(folder, name)))[:_LISTING_LIMIT]]
        except (OSError, ValueError):
            continue
    return None


def _read(path: str, limit: int) -> "bytes | None":
    """Return the first `limit` bytes, None when there is no such file; note one that may not be read.

    A named pipe in a file's place does not block.
    """
    try:
        handle = os.open(_at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError:
        _unreadable.append(path)
        return None
    try:
        return _read_all(handle, limit)
    except OSError as error:
        if error.errno != errno.EISDIR:
            _unreadable.append(path)
        return None
    finally:
        os.close(handle)


def _read_all(handle: int, limit: int) -> bytes:
    chunks = []
    while limit > 0:
        wanted = min(limit, 1 << 18)
        chunk = os.read(handle, wanted)
        chunks.append(chunk)
        limit -= len(chunk)
        # A file on disk gives less than what was asked for only at its end.
        if len(chunk) < wanted:
            break
    return b"".join(chunks)


def _json(value: object) -> str:
    """Write plain data as JSON."""
    if isinstance(value, str):
        return str(_quoted(value))
    if isinstance(value, dict):
        return "{" + ",".join(_quoted(key) + ":" + _json(item) for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_json(item) for item in value]) + "]"
    if value is None:
        return "null"
    return repr(value).lower()


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text_of(data: "bytes | None") -> "str | None":
    return None if data is None else data.decode("utf-8", "replace")


if __name__ == "__main__":
    main()
