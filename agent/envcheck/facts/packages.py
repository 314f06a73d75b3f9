"""Section `packages`: every distribution that the target interpreter would import, as sys.path finds it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from envcheck.contract.fingerprint import Section
from envcheck.facts.interpreter import Distribution
from envcheck.facts.section import Facts, Scene, section

_SEPARATORS = re.compile(r"[-_.]+")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_NAME_AND_VERSION = re.compile(r"(?P<name>[^-]+(?:-[^-]+)*?)-(?P<version>\d[^-]*)(?:-py[\d.]+.*)?")


class Source(Facts, frozen=True, kw_only=True):
    """Where a distribution came from, when it was no index: from direct_url.json, credentials stripped.

    `kind` is vcs, archive, local or editable. Paths on the device are left out.
    """

    kind: str
    url: str = ""
    commit: str = ""
    revision: str = ""
    digest: str = ""


class Copy(Facts, frozen=True, kw_only=True):
    """Another copy of a distribution, which the one that is found first hides."""

    version: str
    local: str = ""
    same_folder: bool = False


class Package(Facts, frozen=True, kw_only=True):
    """One distribution. `local` is the version's local label (`cu126`), apart from `version`.

    `build` is equal for one wheel in two environments and different for another build of the same
    version. `broken` says what of its metadata is missing or contradicts itself.
    """

    version: str = ""
    local: str = ""
    build: str = ""
    tags: list[str] = []
    installer: str = ""
    kind: str = ""
    source: Source | None = None
    shadowed: list[Copy] = []
    broken: str = ""


class PackagePlaces(Facts, frozen=True, kw_only=True):
    """On this device: folder -> names of the distributions found in it, and what may not be read."""

    folders: dict[str, list[str]] = {}
    unreadable: list[str] = []


def gather(scene: Scene) -> Section:
    """List what the target's interpreter would import."""
    told = scene.interpreter()
    found = [item for item in told.distributions if not item.linked]
    linked = {canonical_name(item.linked) for item in told.distributions if item.linked}
    folders: dict[str, list[str]] = {}
    for item in found:
        folders.setdefault(item.folder, []).append(_name_and_version(item)[0])
    return section(
        msgspec.to_builtins(packages(found, linked)),
        PackagePlaces(folders=folders, unreadable=told.unreadable),
    )


def canonical_name(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return _SEPARATORS.sub("-", name).lower().strip()


def packages(found: Iterable[Distribution], linked: Iterable[str] = ()) -> dict[str, Package]:
    """Turn distributions in sys.path order into packages by canonical name; the first of a name wins."""
    linked = set(linked)
    chosen: dict[str, Package] = {}
    places: dict[str, str] = {}
    for item in found:
        name, version = _name_and_version(item)
        if name not in chosen:
            chosen[name] = _package(item, version, name in linked)
            places[name] = item.folder
            continue
        public, _, local = version.partition("+")
        copy = Copy(version=public, local=local, same_folder=places[name] == item.folder)
        first = chosen[name]
        chosen[name] = msgspec.structs.replace(first, shadowed=[*first.shadowed, copy])
    return dict(sorted(chosen.items()))


def _package(item: Distribution, version: str, linked: bool) -> Package:
    public, _, local = version.partition("+")
    source = Source(kind="editable") if linked else parse_source(item.direct_url)
    editable = source is not None and source.kind == "editable"
    return Package(
        version=public,
        local=local,
        # An editable installation's record holds generated files with paths of this device.
        build="" if editable else item.build,
        tags=parse_tags(item.wheel or ""),
        installer=(item.installer or "").strip()[:40],
        kind=item.kind,
        source=source,
        broken=_broken(item),
    )


def parse_tags(wheel: str) -> list[str]:
    """Return the sorted tags of a WHEEL file."""
    head = "Tag:"
    return sorted({line[len(head) :].strip() for line in wheel.splitlines() if line.startswith(head)})


def parse_source(direct_url: str | None) -> Source | None:
    """Read direct_url.json (PEP 610); None when there is none. What can't be read is said so in `kind`."""
    if direct_url is None:
        return None
    try:
        told = json.loads(direct_url)
    except (ValueError, RecursionError):
        return Source(kind="unreadable")
    if not isinstance(told, dict):
        return Source(kind="unreadable")
    url = strip_credentials(_string(told.get("url")))
    public = "" if url.startswith("file:") else url
    vcs, archive, folder = (_mapping(told.get(key)) for key in ("vcs_info", "archive_info", "dir_info"))
    if folder.get("editable") is True:
        return Source(kind="editable")
    if vcs:
        commit, revision = _string(vcs.get("commit_id")), _string(vcs.get("requested_revision"))
        return Source(kind="vcs", url=public, commit=commit, revision=revision)
    if folder:
        return Source(kind="local")
    digest = _string(_mapping(archive.get("hashes")).get("sha256"))
    return Source(kind="archive" if public else "local", url=public, digest=digest)


def strip_credentials(url: str) -> str:
    """Drop user, password, query and fragment from an URL: all of them can hold secrets."""
    return _CREDENTIALS.sub("", url).partition("?")[0].partition("#")[0]


def _name_and_version(item: Distribution) -> tuple[str, str]:
    """Return canonical name and version, from the metadata or else from the file's name."""
    fields = _fields(item)
    stem = item.file.rpartition(".")[0]
    match = _NAME_AND_VERSION.fullmatch(stem)
    name = fields.get("name") or (match.group("name") if match else stem)
    version = fields.get("version") or (match.group("version") if match else "")
    return canonical_name(name), version.replace("_", "+") if not fields.get("version") else version


def _broken(item: Distribution) -> str:
    fields = _fields(item)
    if item.file.startswith("~"):
        return "left over from an interrupted installation"
    if item.metadata is None:
        return "it has no metadata"
    missing = [field for field in ("Name", "Version") if not fields.get(field.lower())]
    if missing:
        return f"its metadata has no {' and no '.join(missing)}"
    if item.kind == "dist-info" and not item.build:
        return "it has no RECORD"
    return ""


def _fields(item: Distribution) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in (item.metadata or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return fields


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
