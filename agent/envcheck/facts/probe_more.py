"""What only some interpreters need: conda, zips on the search path, a tree that is only read.

Sent beside `probe.py` and compiled by it where it is needed, so it holds to the same: Python 3.6 to 3.14,
standard library only, nothing changed. Its functions import for themselves and know nothing of the probe.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable
    from zipfile import ZipFile

# Names, metadata and records of a zip; beyond, it is no distribution.
_MEMBERS_LIMIT = 100000
_MEMBER_LIMIT = 32 * 1024 * 1024
_LINKS_FOLLOWED = 40


def conda(name: str, document: bytes) -> "dict[str, object]":
    """Tell one file of conda-meta: NAME-VERSION-BUILD.json, of which the beginning is enough.

    `distributions` are the stems of the Python metadata that it installed.
    """
    parts = name[: -len(".json")].rsplit("-", 2)
    told = {"name": parts[0]}  # type: dict[str, object]
    if len(parts) == 3:
        told["version"], told["build"] = parts[1:]
    for key in ("channel", "subdir"):
        told[key] = _value(document, key)
    found = set()
    for mark in (b".dist-info/", b".egg-info"):
        at = document.find(mark)
        while at >= 0:
            start = document.rfind(b"-packages/", max(0, at - 300), at)
            stem = document[start + len(b"-packages/") : at]
            if start >= 0 and b"/" not in stem and b'"' not in stem:
                found.add(stem.decode("utf-8", "replace"))
            at = document.find(mark, at + 1)
    told["distributions"] = sorted(found)[:64]
    return told


def _value(document: bytes, key: str) -> str:
    """Return the text of the first `"key": "text"`; the document may be cut off."""
    import json

    quoted = b'"' + key.encode("ascii") + b'"'
    at = document.find(quoted)
    while at >= 0:
        rest = document[at + len(quoted) : at + len(quoted) + 4096].lstrip()
        if rest.startswith(b":"):
            text = rest[1:].lstrip().decode("utf-8", "replace")
            try:
                found = json.JSONDecoder().raw_decode(text)[0]
            except ValueError:
                return ""
            return found if isinstance(found, str) else ""
        at = document.find(quoted, at + 1)
    return ""


def as_installed(record: bytes, info: str) -> bytes:
    """Return the RECORD of a wheel as an installer would write it: NAME.data goes where it belongs.

    `purelib` and `platlib` lie beside the package then, all else outside of site-packages.
    """
    data = (info[: -len(".dist-info")] + ".data/").encode("utf-8", "surrogateescape")
    if data not in record:
        return record
    kept = []
    for row in record.splitlines():
        quote = row[:1] if row[:1] == b'"' else b""
        path = row[len(quote) :]
        if path.startswith(data):
            scheme, _, path = path[len(data) :].partition(b"/")
            if scheme not in (b"purelib", b"platlib"):
                continue
        kept.append(quote + path)
    return b"\n".join(kept)


def zipped(path: str, folder: str, identity: "Callable[[bytes, str], str]") -> "list[dict[str, object]]":
    """List the distributions in an egg, a wheel or another zip on the search path."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:_MEMBERS_LIMIT]
            tops = {name.partition("/")[0] for name in names}
            infos = sorted(
                top for top in tops if top == "EGG-INFO" or top.endswith((".dist-info", ".egg-info"))
            )
            return [_in_zip(archive, path, folder, top, identity) for top in infos]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        file = os.path.basename(path)
        return [{"folder": folder, "file": file, "kind": "zip", "damaged": type(error).__name__}]


def _in_zip(
    archive: "ZipFile", path: str, folder: str, top: str, identity: "Callable[[bytes, str], str]"
) -> "dict[str, object]":
    wheel = top.endswith(".dist-info")
    kind = "dist-info" if wheel else "egg" if top == "EGG-INFO" else "egg-info"
    # An egg's name is the file's; EGG-INFO is the same in all of them.
    file = os.path.basename(path) if top == "EGG-INFO" else top
    told = {"folder": folder, "file": file, "kind": kind, "zipped": True}  # type: dict[str, object]
    metadata = _member(archive, top + ("/METADATA" if wheel else "/PKG-INFO"))
    told["metadata"] = None if metadata is None else metadata[: 64 * 1024].decode("utf-8", "replace")
    record = _member(archive, top + "/RECORD") if wheel else None
    if record is not None:
        told["build"] = identity(as_installed(record, top), top)
    elif not wheel:
        rows = [
            "%s,crc=%08x,%d" % (item.filename, item.CRC, item.file_size)
            for item in archive.infolist()[:_MEMBERS_LIMIT]
            if not item.filename.endswith((".pyc", "/"))
        ]
        told["build"] = identity("\n".join(rows).encode("utf-8", "surrogateescape"), top)
    for key, name in (("wheel", "WHEEL"), ("installer", "INSTALLER"), ("direct_url", "direct_url.json")):
        data = _member(archive, top + "/" + name) if wheel else None
        told[key] = None if data is None else data[: 64 * 1024].decode("utf-8", "replace")
    return told


def _member(archive: "ZipFile", name: str) -> "bytes | None":
    import zlib

    try:
        with archive.open(name) as file:
            return file.read(_MEMBER_LIMIT)
    except (KeyError, zlib.error):
        return None


def inside(root: str) -> "Callable[[str], str]":
    """Return the function that resolves a path below `root` as if root were /, links included."""

    def resolve(path: str) -> str:
        todo = path.split("/")[::-1]
        done = []  # type: list[str]
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            done.append(part)
            here = os.path.join(root, *done)
            if not os.path.islink(here):
                continue
            links += 1
            if links > _LINKS_FOLLOWED:
                raise OSError(40, os.strerror(40), path)
            leads = os.readlink(here)
            done = [] if leads.startswith("/") else done[:-1]
            todo.extend(leads.split("/")[::-1])
        return os.path.join(root, *done)

    return resolve


def site_path(
    first: "list[str]",
    sites: "list[str]",
    read: "Callable[[str, int], bytes | None]",
    at: "Callable[..., str]",
) -> "list[str]":
    """Return the search path as the module `site` makes it: each folder, then those its .pth files name."""
    path = list(first)
    for site in sites:
        if site in path:
            continue
        path.append(site)
        try:
            names = sorted(os.listdir(at(site)))
        except (OSError, ValueError):
            continue
        for name in names:
            if name.endswith(".pth") and not name.startswith("."):
                for folder in _folders(site, read(os.path.join(site, name), 64 * 1024) or b""):
                    if folder not in path and _is_there(folder, at):
                        path.append(folder)
    return path


def _is_there(folder: str, at: "Callable[..., str]") -> bool:
    try:
        return os.path.exists(at(folder))
    except OSError:  # a loop of links
        return False


def _folders(site: str, pth: bytes) -> "list[str]":
    lines = [line.rstrip() for line in pth.decode("utf-8", "replace").splitlines()]
    skipped = ("#", "import ", "import\t")
    named = [line for line in lines if line.strip() and not line.startswith(skipped) and "\0" not in line]
    return [os.path.normpath(os.path.join(site, line)) for line in named]
