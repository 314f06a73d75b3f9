"""The fingerprint: what one environment is, section by section, raw."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from envcheck.contract.canonical import digest
from envcheck.contract.document import Document, Value, encode

SECTION_NAMES = ("python", "packages", "system", "cpu", "memory", "cuda", "onnxruntime", "variables")

Status = Literal["ok", "absent", "unreadable", "error", "skipped"]


class Section(Value, frozen=True, kw_only=True):
    """A group of facts gathered together, and how the gathering went.

    `shared` facts are equal on two devices of one image and enter digests; `device` facts tell devices
    apart (serials, boot id, host name, absolute paths); `readings` change by the minute. The facts
    themselves are opaque here: each section's file under `facts/` declares its own.
    `reason` says why the status is not `ok`, in words that hold for every device of the image.
    """

    status: Status
    reason: str = ""
    shared: dict[str, Any] = {}
    device: dict[str, Any] = {}
    readings: dict[str, Any] = {}
    duration_ms: float = 0.0


class SharedSection(Document, frozen=True, kw_only=True):
    """The part of a section that two devices of one image have in common: an object on the wire."""

    FORMAT: ClassVar[str] = "envcheck.section/1.0"

    name: str
    status: Status
    reason: str = ""
    facts: dict[str, Any] = {}


class SectionDigests(Document, frozen=True, kw_only=True):
    """A fingerprint by reference: the digest of each section. Its own digest names the fingerprint."""

    FORMAT: ClassVar[str] = "envcheck.fingerprint-digests/1.0"

    sections: dict[str, str]


class SharedFingerprint(Value, frozen=True, kw_only=True):
    """What is judged: the shared facts of every section, and the digest that names them."""

    digest: str
    sections: dict[str, SharedSection]


class Fingerprint(Document, frozen=True, kw_only=True):
    """All sections of one environment, as `envcheck capture --json` prints them."""

    FORMAT: ClassVar[str] = "envcheck.fingerprint/1.0"

    captured_at: str
    agent: str
    digest: str
    sections: dict[str, Section]


def shared_section(name: str, section: Section) -> SharedSection:
    """Project a section on what enters its digest."""
    return SharedSection(name=name, status=section.status, reason=section.reason, facts=section.shared)


def fingerprint_objects(sections: dict[str, Section]) -> tuple[str, dict[str, bytes]]:
    """Return the fingerprint's digest and every object it consists of, canonical bytes by digest."""
    objects: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    for name, section in sections.items():
        data = encode(shared_section(name, section))
        digests[name] = digest(data)
        objects[digests[name]] = data
    data = encode(SectionDigests(sections=digests))
    objects[digest(data)] = data
    return digest(data), objects


def make_fingerprint(sections: dict[str, Section], captured_at: str, agent: str) -> Fingerprint:
    """Join sections to a fingerprint; `captured_at` is RFC 3339 in UTC, `agent` the version that captured."""
    return Fingerprint(
        captured_at=captured_at, agent=agent, digest=fingerprint_objects(sections)[0], sections=sections
    )


def shared_fingerprint(fingerprint: Fingerprint) -> SharedFingerprint:
    """Return what of `fingerprint` is judged. The digest is computed, never believed."""
    return SharedFingerprint(
        digest=fingerprint_objects(fingerprint.sections)[0],
        sections={name: shared_section(name, section) for name, section in fingerprint.sections.items()},
    )


def only_shared(fingerprint: Fingerprint) -> Fingerprint:
    """Drop device facts and readings: what may travel to other machines inside a bundle.

    The digest is computed, never believed.
    """
    return Fingerprint(
        captured_at=fingerprint.captured_at,
        agent=fingerprint.agent,
        digest=fingerprint_objects(fingerprint.sections)[0],
        sections={
            name: Section(status=section.status, reason=section.reason, shared=section.shared)
            for name, section in fingerprint.sections.items()
        },
    )
