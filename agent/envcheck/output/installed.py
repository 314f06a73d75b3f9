"""What a fingerprint says is installed, for documents that list software. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envcheck.contract.document import Value
from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput, Undetermined
from envcheck.output.opaque import mapping, strings

Notice = Callable[[str], None]
_VCS = ("git", "hg", "bzr", "svn")


class Software(Value, frozen=True, kw_only=True):
    """One distribution, or library that conda installed. `version` is whole: the local label is in it.

    `origin` is index, vcs, archive, local, editable or conda; `url` is "" where that is not known.
    """

    name: str
    version: str
    origin: str = "index"
    url: str = ""
    vcs: str = ""
    commit: str = ""
    subdirectory: str = ""
    sha256: str = ""
    build: str = ""
    tags: list[str] = []
    conda_build: str = ""
    conda_channel: str = ""
    conda_subdir: str = ""
    vendored: dict[str, str] = {}
    broken: str = ""

    @property
    def reference(self) -> str:
        """Its URL as PEP 508 has it, "" when it came from an index or from nowhere known."""
        below = f"#subdirectory={self.subdirectory}" if self.subdirectory else ""
        if self.origin == "vcs" and self.vcs in _VCS and self.url:
            return f"{self.vcs}+{self.url}" + (f"@{self.commit}" if self.commit else "") + below
        if self.origin in ("archive", "local", "editable") and self.url:
            digest = f"sha256={self.sha256}" if self.sha256 else ""
            joined = "&".join(part for part in (digest, below.lstrip("#")) if part)
            return self.url + (f"#{joined}" if joined else "")
        return ""


class Installed(Value, frozen=True, kw_only=True):
    """All of it, and where it was found. `python` is the interpreter's version, "" where not known."""

    digest: str
    captured_at: str
    agent: str
    python: str
    implementation: str
    machine: str
    system: str
    software: list[Software]


def installed(fingerprint: Fingerprint, notice: Notice) -> Installed:
    """Return what is installed; raises BadInput without the section and Undetermined when it has nothing.

    `notice` is called with a sentence when the list is known to be incomplete.
    """
    section = fingerprint.sections.get("packages")
    if section is None:
        raise BadInput("a list of software needs the section packages", "leave --section out, or name it too")
    if section.status != "ok":
        if not section.shared:
            raise Undetermined(f"what is installed could not be told: {section.reason}")
        notice(f"the list is not complete: {section.reason}")
    places = mapping(section.device.get("sources"))
    python, machine = (
        mapping(found.shared) if (found := fingerprint.sections.get(name)) else {}
        for name in ("python", "system")
    )
    return Installed(
        digest=fingerprint.digest,
        captured_at=fingerprint.captured_at,
        agent=fingerprint.agent,
        python=str(python.get("version") or ""),
        implementation=str(python.get("implementation") or ""),
        machine=str(python.get("machine") or machine.get("machine") or ""),
        system=str(mapping(machine.get("os")).get("name") or ""),
        software=[_software(name, mapping(entry), places) for name, entry in sorted(section.shared.items())],
    )


def _software(name: str, entry: dict[str, Any], places: dict[str, Any]) -> Software:
    source, conda = mapping(entry.get("source")), mapping(entry.get("conda"))
    local = f"+{entry['local']}" if entry.get("local") else ""
    default = "conda" if conda and not source else "index"
    return Software(
        name=name,
        version=f"{entry.get('version') or ''}{local}",
        origin=str(source.get("kind") or default),
        url=str(source.get("url") or places.get(name) or ""),
        vcs=str(source.get("vcs") or ""),
        commit=str(source.get("commit") or ""),
        subdirectory=str(source.get("subdirectory") or ""),
        sha256=str(source.get("digest") or ""),
        build=str(entry.get("build") or ""),
        tags=strings(entry.get("tags")),
        conda_build=str(conda.get("build") or ""),
        conda_channel=str(conda.get("channel") or ""),
        conda_subdir=str(conda.get("subdir") or ""),
        vendored={str(copy): str(version) for copy, version in mapping(entry.get("vendored")).items()},
        broken=str(entry.get("broken") or ""),
    )
