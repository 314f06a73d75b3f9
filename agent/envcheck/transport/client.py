"""The collector's routes as functions: documents in, documents out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import TypeVar

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.policy import Policy
from envcheck.contract.wire import (
    BundleAnswer,
    Enrolment,
    EnrolmentAnswer,
    GateAnswer,
    GateQuestion,
    KeyRotation,
    ObjectAnswer,
    ReleaseAnswer,
    ReleasePush,
    ReportAnswer,
)
from envcheck.errors import Unreachable
from envcheck.transport.link import Link, Refused

_WORTH_GZIP = 1024
_UPLOAD_S = 600.0
_GATE_LIMIT = 64 * 1024 * 1024

A = TypeVar("A", ReportAnswer, ObjectAnswer, BundleAnswer)


def send_enrolment(link: Link, enrolment: Enrolment) -> EnrolmentAnswer:
    """Ask the collector to know this device; the same key and token may ask again."""
    answer = link.ask("POST", "/v1/enroll", EnrolmentAnswer, encode(enrolment))
    if answer.device != enrolment.device:
        raise Unreachable(
            f"{link.url} answered for the device {answer.device[:80]!r}, asked was {enrolment.device!r}"
        )
    return answer


def send_rotation(link: Link, device: str, rotation: KeyRotation) -> EnrolmentAnswer:
    """Give this device another key; `link` speaks with the old one, or with the new one to ask again."""
    answer = link.ask("PUT", f"/v1/devices/{device}/key", EnrolmentAnswer, encode(rotation))
    if answer.device != device:
        raise Unreachable(f"{link.url} answered for the device {answer.device[:80]!r}, asked was {device!r}")
    return answer


def send_report(link: Link, device: str, body: bytes) -> ReportAnswer:
    """Send the canonical bytes of a report. Raises Unreachable unless exactly these were stored."""
    answer = link.ask("PUT", f"/v1/devices/{device}/report", ReportAnswer, body)
    return _acknowledged(answer, digest(body), link)


def send_object(link: Link, data: bytes) -> ObjectAnswer:
    """Send an object under its digest."""
    packed = gzip.compress(data, mtime=0) if len(data) > _WORTH_GZIP else data
    answer = link.ask(
        "PUT",
        f"/v1/objects/{digest(data)}",
        ObjectAnswer,
        packed,
        encoding="gzip" if packed is not data else "",
    )
    return _acknowledged(answer, digest(data), link)


def has_bundle(link: Link, sha256: str) -> bool:
    """Tell whether the collector holds a bundle already."""
    try:
        with link.open("GET", f"/v1/bundles/{sha256}", headers={"Range": "bytes=0-0"}):
            return True
    except Refused as refused:
        if refused.status == 404:
            return False
        raise


def send_bundle(link: Link, data: bytes | memoryview, sha256: str) -> BundleAnswer:
    """Give the collector a bundle under its digest; a view of a file is sent without a copy in memory."""
    answer = link.ask(
        "PUT",
        f"/v1/bundles/{sha256}",
        BundleAnswer,
        data,
        content_type="application/octet-stream",
        read_s=_UPLOAD_S,
    )
    return _acknowledged(answer, sha256, link)


def send_release(
    link: Link, release: str, bundle: str, policy: Policy, selector: str, mirror: str = ""
) -> ReleaseAnswer:
    """Bind a stored bundle to a policy, to the devices that it is meant for, and to a mirror of it."""
    body = encode(ReleasePush(bundle=bundle, policy=policy, selector=selector, mirror=mirror))
    answer = link.ask("PUT", f"/v1/releases/{release}", ReleaseAnswer, body)
    if (answer.release, answer.bundle) != (release, bundle):
        raise Unreachable(f"{link.url} answered for {answer.release[:140]!r}, pushed was {release!r}")
    return answer


def ask_gate(link: Link, question: GateQuestion) -> GateAnswer:
    """Ask whether devices are ready. Raises Unreachable for an answer that does not fit the question."""
    answer = link.ask("POST", "/v1/gate", GateAnswer, encode(question), read_s=120.0, limit=_GATE_LIMIT)
    for wrong, fits in _FITS.items():
        if not fits(question, answer):
            raise Unreachable(f"the gate's answer from {link.url} can't be right: {wrong}", "ask again")
    return answer


# Both sides divide the same whole numbers, and JSON keeps a share as it is: no margin is needed.
_FITS: dict[str, Callable[[GateQuestion, GateAnswer], bool]] = {
    "it is about another release": lambda asked, told: told.release == asked.release,
    "it is about another cohort": lambda asked, told: told.cohort == asked.cohort,
    "it holds devices to other shares": lambda asked, told: (
        (told.min_ready, told.max_unknown) == (asked.min_ready, asked.max_unknown)
    ),
    "its counts do not add up": lambda _asked, told: told.ready + told.blocked + told.unknown == told.total,
    "it leaves out devices that are expected": lambda asked, told: told.total >= len(set(asked.expect)),
    "it passes what the question's shares do not allow": lambda asked, told: (
        told.outcome != "pass"
        or (
            told.total > 0
            and told.ready / told.total >= asked.min_ready
            and told.unknown / told.total <= asked.max_unknown
        )
    ),
}


def _acknowledged(answer: A, sent: str, link: Link) -> A:
    """Hold an answer to the digest of what was sent."""
    if answer.stored != sent:
        raise Unreachable(
            f"{link.url} acknowledged other bytes than were sent",
            "something between here and the collector changes or answers requests",
        )
    return answer
