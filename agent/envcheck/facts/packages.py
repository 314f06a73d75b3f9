"""Section `packages`: every distribution that the target interpreter would import, as sys.path finds it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from envcheck.contract.fingerprint import Section
from envcheck.facts.interpreter import CondaPackage, Distribution, Interpreter, Vendored
from envcheck.facts.section import Facts, Scene, section

_SEPARATORS = re.compile(r"[-_.]+")
_CREDENTIALS = re.compile(r"(?<=://)[^/]*@")
_TOKEN = re.compile(r"/t/[^/]+")
# Those who leave a RECORD behind. The packagers of systems (debian, rpm) take it away, as they may: only
# they are to change what they installed.
_RECORDING = {"", "pip", "uv", "conda", "poetry", "pdm"}
_NAME_AND_VERSION = re.compile(r"(?P<name>[^-]+(?:-[^-]+)*?)-(?P<version>\d[^-]*)(?:-py[\d.]+.*)?")


class Source(Facts, frozen=True, kw_only=True):
    """Where a distribution came from, when it was no index: from direct_url.json, credentials stripped.

    `kind` is vcs, archive, local or editable; `vcs` is git, hg, bzr or svn. Paths on the device are left out.
    """

    kind: str
    vcs: str = ""
    url: str = ""
    commit: str = ""
    revision: str = ""
    digest: str = ""
    subdirectory: str = ""


class Conda(Facts, frozen=True, kw_only=True):
    """What conda-meta tells: the build string and the channel, credentials stripped."""

    build: str = ""
    channel: str = ""
    subdir: str = ""


class Copy(Facts, frozen=True, kw_only=True):
    """Another copy of a distribution, which the one that is found first hides."""

    version: str
    local: str = ""
    same_folder: bool = False


class Package(Facts, frozen=True, kw_only=True):
    """One distribution. `local` is the version's local label (`cu126`), apart from `version`.

    `build` is equal for one wheel in two environments and different for another build of the same version.
    `source` is left out for what came from an index. `kind` is dist-info, egg-info, egg, zip or conda
    (installed by conda, and no Python distribution). `vendored` maps the copies of others that it carries
    inside to their versions. `user_site` tells that it lies in the user's own folder. `broken` says what
    of its metadata is missing or contradicts itself.
    """

    version: str = ""
    local: str = ""
    build: str = ""
    tags: list[str] = []
    installer: str = ""
    kind: str = ""
    zipped: bool = False
    user_site: bool = False
    source: Source | None = None
    conda: Conda | None = None
    shadowed: list[Copy] = []
    vendored: dict[str, str] = {}
    broken: str = ""


class PackagePlaces(Facts, frozen=True, kw_only=True):
    """On this device: folder -> names of the distributions found in it, and what may not be read.

    `sources` maps what was installed from a local file or folder to its place. `verified` is what became of
    the files when they were held to their records (`verification.Verified`).
    """

    folders: dict[str, list[str]] = {}
    sources: dict[str, str] = {}
    unreadable: list[str] = []
    verified: dict[str, Any] = {}


def gather(scene: Scene) -> Section:
    """List what the target's interpreter would import."""
    told = scene.interpreter()
    found = [item for item in told.distributions if not item.linked]
    folders: dict[str, list[str]] = {}
    for item in found:
        folders.setdefault(item.folder, []).append(_name_and_version(item)[0])
    closed = [folder for folder in told.unreadable if folder in told.path]
    return section(
        msgspec.to_builtins(told_packages(told)),
        PackagePlaces(
            folders=folders,
            sources=_sources(found),
            unreadable=told.unreadable,
            verified=_verified(scene, told),
        ),
        status="unreadable" if closed else "ok",
        reason=f"{len(closed)} of the folders to import from may not be read" if closed else "",
    )


def _verified(scene: Scene, told: Interpreter) -> dict[str, Any]:
    """Hold the files to their records when that is asked for.

    On this device, since a digest must not depend on how closely the environment was looked at.
    """
    if not scene.verify:
        return {}
    from envcheck.facts.verification import verify

    return dict(msgspec.to_builtins(verify(scene, told)))


def told_packages(told: Interpreter) -> dict[str, Package]:
    """Return everything that an interpreter told of its packages, by canonical name."""
    linked = {canonical_name(item.linked) for item in told.distributions if item.linked}
    found = [item for item in told.distributions if not item.linked]
    chosen = packages(found, linked, unreadable=told.unreadable, user_folder=told.user_folder)
    _add_vendored(chosen, found, told.vendored)
    _add_conda(chosen, told.conda or [])
    return dict(sorted(chosen.items()))


def canonical_name(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return _SEPARATORS.sub("-", name).lower().strip()


def packages(
    found: Iterable[Distribution],
    linked: Iterable[str] = (),
    *,
    unreadable: Iterable[str] = (),
    user_folder: str = "",
) -> dict[str, Package]:
    """Turn distributions in sys.path order into packages by canonical name; the first of a name wins."""
    linked, closed = set(linked), set(unreadable)
    chosen: dict[str, Package] = {}
    places: dict[str, str] = {}
    for item in found:
        name, version = _name_and_version(item)
        if name not in chosen:
            own = bool(user_folder) and item.folder == user_folder
            chosen[name] = _package(item, version, linked=name in linked, closed=closed, user_site=own)
            places[name] = item.folder
            continue
        public, _, local = version.partition("+")
        copy = Copy(version=public, local=local, same_folder=places[name] == item.folder)
        first = chosen[name]
        chosen[name] = msgspec.structs.replace(first, shadowed=[*first.shadowed, copy])
    return dict(sorted(chosen.items()))


def _package(item: Distribution, version: str, *, linked: bool, closed: set[str], user_site: bool) -> Package:
    public, _, local = version.partition("+")
    source = Source(kind="editable") if linked else parse_source(item.direct_url)
    editable = source is not None and source.kind == "editable"
    return Package(
        version=public,
        local=local,
        # An editable installation's record holds generated files with paths of this device.
        build="" if editable else item.build or "",
        tags=parse_tags(item.wheel or ""),
        installer=(item.installer or "").strip()[:40],
        kind=item.kind,
        zipped=item.zipped,
        user_site=user_site,
        source=source,
        broken=_unread(item, closed) or _broken(item),
    )


def _unread(item: Distribution, closed: set[str]) -> str:
    """Say which of its metadata is there but may not be read."""
    if not closed:
        return ""
    place = f"{item.folder}/{item.file}"
    names = [name for name in ("METADATA", "PKG-INFO", "RECORD") if f"{place}/{name}" in closed]
    return f"its {' and '.join(names)} may not be read" if names else ""


def _add_vendored(chosen: dict[str, Package], found: list[Distribution], vendored: list[Vendored]) -> None:
    """Note what a distribution carries inside: that of the record, else that of the folder's name."""
    owners = {(item.folder, within): _name_and_version(item)[0] for item in found for within in item.vendors}
    for group in vendored:
        name = owners.get((group.folder, group.within)) or canonical_name(group.within)
        copies = dict(_name_in_file(file) for file in group.files)
        if name in chosen and copies:
            first = chosen[name]
            both = dict(sorted({**copies, **first.vendored}.items()))
            chosen[name] = msgspec.structs.replace(first, vendored=both)


def _add_conda(chosen: dict[str, Package], conda: list[CondaPackage]) -> None:
    """Note what conda tells of each package; libraries that are no Python distribution are packages too."""
    for item in conda:
        told = Conda(
            build=item.build, channel=strip_credentials(without_token(item.channel)), subdir=item.subdir
        )
        names = [canonical_name(_name_in_file(f"{stem}.dist-info")[0]) for stem in item.distributions]
        owned = [name for name in names or [canonical_name(item.name)] if name in chosen]
        for name in owned:
            chosen[name] = msgspec.structs.replace(chosen[name], conda=told)
        if not owned:
            public, _, local = item.version.partition("+")
            chosen[canonical_name(item.name)] = Package(version=public, local=local, kind="conda", conda=told)


def without_token(channel: str) -> str:
    """Drop the token that conda writes into the path of a private channel (/t/TOKEN/)."""
    return _TOKEN.sub("", channel)


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
    below = _string(told.get("subdirectory"))
    if vcs:
        commit, revision = _string(vcs.get("commit_id")), _string(vcs.get("requested_revision"))
        tool = _string(vcs.get("vcs"))
        return Source(kind="vcs", vcs=tool, url=public, commit=commit, revision=revision, subdirectory=below)
    if folder:
        return Source(kind="local")
    # Before pip 23 the hash was one text.
    method, _, old = _string(archive.get("hash")).partition("=")
    digest = _string(_mapping(archive.get("hashes")).get("sha256")) or (old if method == "sha256" else "")
    return Source(kind="archive" if public else "local", url=public, digest=digest, subdirectory=below)


def _sources(found: Iterable[Distribution]) -> dict[str, str]:
    """Return where on this device local files and folders lie that something was installed from."""
    places: dict[str, str] = {}
    for item in found:
        if item.direct_url is not None and "file:" in item.direct_url:
            url = _url(item.direct_url)
            if url.startswith("file:"):
                places.setdefault(_name_and_version(item)[0], url)
    return places


def _url(direct_url: str) -> str:
    try:
        return strip_credentials(_string(_mapping(json.loads(direct_url)).get("url")))
    except (ValueError, RecursionError):
        return ""


def strip_credentials(url: str) -> str:
    """Drop user, password, query and fragment from an URL: all of them can hold secrets."""
    return _CREDENTIALS.sub("", url).partition("?")[0].partition("#")[0]


def _name_and_version(item: Distribution) -> tuple[str, str]:
    """Return canonical name and version, from the metadata or else from the file's name."""
    fields = _fields(item)
    name, version = fields.get("name"), fields.get("version")
    if name and version:
        return canonical_name(name), version
    by_file = _name_in_file(item.file)
    return canonical_name(name or by_file[0]), version or by_file[1]


def _name_in_file(file: str) -> tuple[str, str]:
    """Return canonical name and version of NAME-VERSION.dist-info and its like; "" for what is not there."""
    stem = file.rpartition(".")[0]
    match = _NAME_AND_VERSION.fullmatch(stem)
    if match is None:
        return canonical_name(stem), ""
    return canonical_name(match.group("name")), match.group("version").replace("_", "+")


def _broken(item: Distribution) -> str:
    fields = _fields(item)
    if item.file.startswith("~"):
        return "left over from an interrupted installation"
    if item.damaged:
        return "it is no zip that can be read"
    if item.metadata is None:
        return "it has no metadata"
    missing = [field for field in ("Name", "Version") if not fields.get(field.lower())]
    if missing:
        return f"its metadata has no {' and no '.join(missing)}"
    if item.kind == "dist-info" and not item.build and _installer(item).partition(" ")[0] in _RECORDING:
        return "it has no RECORD" if item.build is None else "its RECORD has no hashes"
    return ""


def _installer(item: Distribution) -> str:
    return (item.installer or "").strip().lower()


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
