"""What is installed as pylock.toml (PEP 751), made and checked by `packaging`.

A lock file holds the digest of every file that is to be installed. An installation does not keep those of
wheels from an index, so they are recognised by their build identity in a folder of wheels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from envcheck.errors import BadInput, MissingExtra
from envcheck.output.installed import Installed, Software

if TYPE_CHECKING:
    from packaging.pylock import Package

_MAX_NAMED = 5
_ARCHIVES = (".whl", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz")


class File(Protocol):
    """A wheel file as it lies in a folder."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def sha256(self) -> str:
        """Its digest."""

    @property
    def size(self) -> int:
        """Its size in bytes."""


def pylock_text(found: Installed, wheels: Mapping[str, File]) -> str:
    """Return the lock file; `wheels` are wheel files by build identity.

    Raises BadInput naming what can't be locked, MissingExtra when `packaging` is too old.
    """
    try:
        from packaging import pylock
        from packaging.specifiers import SpecifierSet
        from packaging.version import Version
    except ImportError:
        raise MissingExtra("packaging>=26", "sbom", "a lock file") from None

    packages, unknown = [], []
    for item in found.software:
        package = _package(item, wheels)
        if package is None:
            unknown.append(f"{item.name} {item.version}".strip())
        else:
            packages.append(package)
    if unknown:
        more = f" and {len(unknown) - _MAX_NAMED} more" if len(unknown) > _MAX_NAMED else ""
        raise BadInput(
            f"no file is known that these could be locked to: {', '.join(unknown[:_MAX_NAMED])}{more}",
            "give the wheels that were installed: --wheels DIR; or use --format requirements",
        )
    lock = pylock.Pylock(
        lock_version=Version("1.0"),
        requires_python=SpecifierSet(f"=={found.python}") if found.python else None,
        created_by="envcheck",
        packages=packages,
        tool={"envcheck": {"fingerprint": found.digest, "captured-at": found.captured_at}},
    )
    try:
        lock.validate()
    except pylock.PylockValidationError as error:
        raise BadInput(
            f"this can't be written as a lock file: {error}", "use --format requirements"
        ) from None
    return toml(lock.to_dict())


def _package(item: Software, wheels: Mapping[str, File]) -> Package | None:
    """Return one entry, None when no file is known that it came from."""
    from packaging import pylock
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(item.version)
    except InvalidVersion:
        return None
    # A version beside a source tree is not to be relied on, says PEP 751.
    entry = _source(item)
    if not entry and (wheel := wheels.get(item.build)):
        hashes = {"sha256": wheel.sha256}
        file = pylock.PackageWheel(name=wheel.file, path=wheel.file, size=wheel.size, hashes=hashes)
        entry = {"version": version, "wheels": [file]}
    return pylock.Package(name=canonicalize_name(item.name), **entry) if entry else None


def _source(item: Software) -> dict[str, Any]:
    """Return where it came from when that was no index; nothing when it can't be locked to that."""
    from packaging import pylock

    below = item.subdirectory or None
    if item.origin == "vcs" and item.vcs and item.url and item.commit:
        return {
            "vcs": pylock.PackageVcs(type=item.vcs, url=item.url, commit_id=item.commit, subdirectory=below)
        }
    if item.origin == "archive" or _is_file(item):
        here = _is_file(item)
        archive = pylock.PackageArchive(
            url=None if here else item.url,
            path=_path(item.url) if here else None,
            hashes={"sha256": item.sha256},
            subdirectory=below,
        )
        return {"archive": archive} if item.sha256 else {}
    if item.origin in ("local", "editable") and item.url.startswith("file:"):
        editable = True if item.origin == "editable" else None
        folder = pylock.PackageDirectory(path=_path(item.url), editable=editable, subdirectory=below)
        return {"directory": folder}
    return {}


def _is_file(item: Software) -> bool:
    """Whether it was installed from a file of this machine: what is no archive is a folder."""
    return item.origin == "local" and _path(item.url).endswith(_ARCHIVES)


def _path(url: str) -> str:
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path)


def toml(document: Mapping[str, Any], path: str = "") -> str:
    """Write plain data as TOML: text, numbers, booleans, lists of text, tables and lists of tables."""
    plain, tables = [], []
    for key, value in document.items():
        name = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, Mapping):
            tables.append(f"\n[{name}]\n{toml(value, name)}")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            tables += [f"\n[[{name}]]\n{toml(entry, name)}" for entry in value]
        else:
            plain.append(f"{_key(key)} = {_value(value)}\n")
    return "".join([*plain, *tables])


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    # A TOML string in quotes is a JSON string, but for the character DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
