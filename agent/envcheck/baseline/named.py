"""Packages that a file names as counting: requirements.txt and pylock.toml, for the training environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput, MissingExtra, Undetermined

_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 16
_COMMENT = re.compile(r"(^|\s)#.*$")
# What follows a requirement on its line: --hash=..., --config-settings ...
_OPTIONS = re.compile(r"\s--?[a-z].*$")
_NESTED = re.compile(r"(?:-r|--requirement)(?:\s*=\s*|\s+|(?<=-r))(\S.*)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(\S.*)")
_EGG = re.compile(r"(?:^|&)egg=([A-Za-z0-9._-]+)")
_NAMES = "write NAME @ URL, so that its name is known"


@dataclass(frozen=True)
class NamedPackage:
    """One distribution by its canonical name, where it was named, and which versions are wanted there."""

    name: str
    where: str
    specifier: str = ""

    def allows(self, version: str) -> bool:
        """Tell whether an installed version is one of those wanted; a version no standard knows is."""
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        try:
            return SpecifierSet(self.specifier).contains(Version(version), prereleases=True)
        except InvalidVersion:
            return True


def name_package(name: str, where: str) -> NamedPackage:
    """Take a distribution as a person names it."""
    from packaging.utils import canonicalize_name

    return NamedPackage(str(canonicalize_name(name)), where)


def marker_environment(fingerprint: Fingerprint) -> dict[str, str]:
    """Return what environment markers are evaluated with: the facts of the training environment.

    Raises Undetermined when its interpreter was not seen.
    """
    sections = fingerprint.sections
    python = sections.get("python")
    if python is None or python.status != "ok":
        raise Undetermined(
            "environment markers can't be evaluated: the training interpreter is not known",
            "name it with --python",
        )
    facts, system = python.shared, sections["system"].shared if "system" in sections else {}
    version, implementation = str(facts.get("version", "")), str(facts.get("implementation", ""))
    return {
        "implementation_name": implementation.lower(),
        "implementation_version": version,
        "os_name": "posix",
        "platform_machine": str(facts.get("machine", "")),
        "platform_python_implementation": implementation,
        "platform_release": str(system.get("kernel") or ""),
        "platform_system": "Linux",
        "platform_version": str(system.get("kernel_build") or ""),
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "sys_platform": "linux",
    }


def read_requirements(path: Path, environment: Mapping[str, str]) -> list[NamedPackage]:
    """Read the packages that a requirements file names, nested files included, in their order.

    Comments, options and hashes are skipped, and so is what a marker excludes in `environment`; extras do not
    change the name. Raises BadInput with file and line for what names no package.
    """
    return list(_requirements(path, environment, ()))


def _requirements(
    path: Path, environment: Mapping[str, str], around: tuple[Path, ...]
) -> Iterator[NamedPackage]:
    if path.resolve() in around or len(around) >= _MAX_DEPTH:
        raise BadInput(f"{path} includes itself", "take the -r that closes the circle out")
    for number, line in _lines(_read(path, "file of requirements")):
        where = f"{path}, line {number}"
        if nested := _NESTED.fullmatch(line):
            place = nested.group(1).strip("\"' ")
            if "://" in place:
                raise BadInput(f"{where}: {place} is no file here", "fetch it, and name the file")
            yield from _requirements(path.parent / place, environment, (*around, path.resolve()))
            continue
        if editable := _EDITABLE.fullmatch(line):
            line = editable.group(1)
        elif line.startswith("-"):
            continue
        found = _requirement(_OPTIONS.sub("", line).strip(), where, environment, path.parent)
        if found is not None:
            yield found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line that is not empty, with the number of its first."""
    begun, number = "", 0
    for count, physical in enumerate([*text.splitlines(), ""], 1):
        number = number or count
        line = _COMMENT.sub("", physical)
        begun += line.removesuffix("\\") if line.endswith("\\") else line
        if line.endswith("\\"):
            continue
        if begun.strip():
            yield number, begun.strip()
        begun, number = "", 0


def _requirement(line: str, where: str, environment: Mapping[str, str], folder: Path) -> NamedPackage | None:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        name = _name_of_place(line) or _name_of_project(line, folder)
        if name is None:
            looks = "/" in line or line.startswith(".")
            told = "names no package" if looks else str(error).splitlines()[0]
            raise BadInput(f"{where}: {line[:120]!r}: {told}", _NAMES if looks else "") from None
        return NamedPackage(str(canonicalize_name(name)), where)
    if requirement.marker is not None and not requirement.marker.evaluate({**environment, "extra": ""}):
        return None
    return NamedPackage(str(canonicalize_name(requirement.name)), where, str(requirement.specifier))


def _name_of_place(place: str) -> str | None:
    """Return the name that a URL or a path bears: in `#egg=`, or as that of a wheel or source archive."""
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    parts = urlsplit(place.partition(";")[0].strip())
    if egg := _EGG.search(parts.fragment):
        return egg.group(1)
    file = unquote(parts.path).rpartition("/")[2]
    try:
        return str(parse_wheel_filename(file)[0])
    except InvalidWheelFilename:
        pass
    try:
        return str(parse_sdist_filename(file)[0])
    except InvalidSdistFilename:
        return None


def _name_of_project(place: str, folder: Path) -> str | None:
    """Return the name of the project that lies in a directory here, as its pyproject.toml tells it."""
    parts = urlsplit(place.partition(";")[0].partition("[")[0].strip())
    if parts.scheme not in ("", "file"):
        return None
    try:
        import tomllib

        text = (folder / unquote(parts.path) / "pyproject.toml").read_text(encoding="utf-8")
        name = tomllib.loads(text)["project"]["name"]
    except (ImportError, OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def read_pylock(path: Path, environment: Mapping[str, str]) -> list[NamedPackage]:
    """Read the packages that a lock file (PEP 751) names for `environment`, its default groups included.

    Raises BadInput for what is no lock file, saying where, and MissingExtra where `packaging` is too old to
    read one.
    """
    text = _read(path, "lock file")
    lock = _lock(text, path)
    found = []
    for package in lock.packages:
        groups = {"extras": set(), "dependency_groups": set(lock.default_groups or ())}
        marker = package.marker
        if marker is None or marker.evaluate({**environment, **groups}, context="lock_file"):
            pinned = f"=={package.version}" if package.version is not None else ""
            found.append(NamedPackage(str(package.name), _place(path, text, package.name), pinned))
    return found


def _lock(text: str, path: Path) -> Any:
    try:
        from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError
    except ImportError:
        raise MissingExtra("packaging>=26", "sbom", "reading a lock file") from None
    try:
        import tomllib
    except ImportError:
        raise BadInput(
            "reading a lock file needs Python 3.11 or newer for the agent",
            "name the packages in a file of requirements: --requirements FILE",
        ) from None
    try:
        return Pylock.from_dict(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, PylockValidationError, PylockUnsupportedVersionError) as error:
        raise BadInput(f"{path} is no lock file: {error}", "lock files are pylock.toml of PEP 751") from None


def _place(path: Path, text: str, name: str) -> str:
    """Say in which line of a lock file a package stands."""
    wanted = re.compile(rf"""\s*name\s*=\s*["']{re.escape(name)}["']""", re.IGNORECASE)
    for number, line in enumerate(text.splitlines(), 1):
        if wanted.match(line):
            return f"{path}, line {number}"
    return str(path)


def _read(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadInput(f"{path} is larger than {_MAX_BYTES >> 20} MB: that is no {what}")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"there is no such {what}: {path}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise BadInput(f"the {what} {path} can't be read: {error.strerror}") from None
