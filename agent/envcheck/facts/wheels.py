"""A folder of wheels: which build each one holds, so that what is installed can be recognised in it."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import msgspec

from envcheck.errors import BadInput
from envcheck.facts.probe import identity
from envcheck.facts.probe_more import as_installed

_RECORD_LIMIT = 32 * 1024 * 1024
_CHUNK = 1024 * 1024


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """One wheel file: its name, SHA-256 and size in bytes."""

    file: str
    sha256: str
    size: int


def read_wheels(folder: str) -> dict[str, Wheel]:
    """Return the wheels in a folder by build identity: that of a package equals its wheel's.

    Raises BadInput for a folder that can't be read or holds no wheel, and for a wheel that is damaged.
    """
    try:
        paths = sorted(Path(folder).glob("*.whl"))
    except OSError as error:
        raise BadInput(f"the folder {folder} can't be read: {error.strerror}") from None
    if not paths:
        raise BadInput(f"there is no wheel in {folder}", "name the folder that was installed from")
    return {build: wheel for build, wheel in map(_read, paths) if build}


def _read(path: Path) -> tuple[str, Wheel]:
    try:
        with zipfile.ZipFile(path) as archive:
            # Its own lies at the top; those further down are of copies that it carries.
            infos = [
                name
                for name in archive.namelist()
                if name.endswith(".dist-info/RECORD") and name.count("/") == 1
            ]
            record = archive.open(infos[0]).read(_RECORD_LIMIT) if len(infos) == 1 else b""
        whole = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                whole.update(chunk)
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"the wheel {path} can't be read: {error}", "download it again") from None
    info = infos[0].rpartition("/")[0] if record else ""
    build = identity(as_installed(record, info), info) if record else ""
    return build, Wheel(file=path.name, sha256=whole.hexdigest(), size=path.stat().st_size)
