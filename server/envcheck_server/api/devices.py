"""What devices ask: enrolment, reports, objects; and the table of all devices."""

from __future__ import annotations

from functools import partial
from typing import cast, get_args

from litestar.response.base import ASGIResponse

from envcheck.contract.document import Document
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SectionDigests, SharedSection
from envcheck.contract.wire import (
    DeviceState,
    Enrolment,
    EnrolmentAnswer,
    FleetAnswer,
    KeyRotation,
    ObjectAnswer,
    Report,
    ReportAnswer,
)
from envcheck.errors import BadInput
from envcheck_server.api.endpoint import Access, Call, Endpoint
from envcheck_server.service.errors import Unauthenticated


async def enroll(call: Call) -> Document | ASGIResponse:
    """Enrol the device that signed with the key it brings."""
    enrolment = call.document(Enrolment)
    signed = call.signed
    if signed is None:
        raise Unauthenticated("the request is not signed")
    service = call.site.services.enrolment
    # Strangers do not get as far as the queue of writes.
    await call.site.read(service.check, enrolment, signed)
    return await call.site.write(lambda: service.enrol(enrolment, signed))


async def put_key(call: Call) -> Document | ASGIResponse:
    """Put another key in the place of the one that signed."""
    rotation = call.document(KeyRotation)
    speaker = call.speaker
    if speaker is None:
        raise Unauthenticated("the request is not signed")
    return await call.site.write(lambda: call.site.services.enrolment.rotate(speaker, rotation))


async def put_report(call: Call) -> Document | ASGIResponse:
    """Store a report; the answer is given once it is on the disk."""
    reports = call.site.services.reports
    if call.speaker is None:
        raise Unauthenticated("the request is not signed")
    new = reports.read(call.speaker, call.body)
    received = await reports.receive(new)
    if received.receipt in ("gone", "key", "state"):
        return await call.site.read(reports.answer, new, received)
    return reports.answer(new, received)


async def put_object(call: Call) -> Document | ASGIResponse:
    """Store a section, a fingerprint or evidence under its digest."""
    objects = call.site.services.objects
    gzipped = call.request.headers.get("content-encoding", "").lower() == "gzip"
    device = call.device.device if call.device else ""
    put = partial(objects.put, device, call.part("sha256"), call.body, gzipped=gzipped)
    return await call.site.write(put)


async def get_devices(call: Call) -> Document | ASGIResponse:
    """List devices, a page at a time."""
    state = call.query("state")
    if state and state not in get_args(DeviceState):
        raise BadInput(f"state: there is no {state[:40]!r}", f"it is {', '.join(get_args(DeviceState))}")
    asked = (call.query("selector"), call.query("release"), call.query("after"))
    page = partial(call.site.services.fleet.page, *asked, state=cast(DeviceState, state) if state else None)
    return await call.site.read(page)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/enroll",
        Access(device="new"),
        "Make a device known. Signed by the key that it enrols; the token is in the body.",
        enroll,
        Enrolment,
        EnrolmentAnswer,
        "max_report_bytes",
    ),
    Endpoint(
        "PUT",
        "/v1/devices/{device:str}/key",
        Access(device="accepted"),
        "Give a device another key, which the old one and the new one sign for.",
        put_key,
        KeyRotation,
        EnrolmentAnswer,
        "max_report_bytes",
    ),
    Endpoint(
        "PUT",
        "/v1/devices/{device:str}/report",
        Access(device="speaker"),
        "Store a device's report. The same bytes again are answered the same.",
        put_report,
        Report,
        ReportAnswer,
        "max_report_bytes",
    ),
    Endpoint(
        "PUT",
        "/v1/objects/{sha256:str}",
        Access(device="accepted"),
        "Store an object that a report or another object refers to; gzip is allowed.",
        put_object,
        (SharedSection, SectionDigests, Evidence),
        ObjectAnswer,
        "max_object_bytes",
        gzip=True,
    ),
    Endpoint(
        "GET",
        "/v1/devices",
        Access(scopes=("gate:read",)),
        "List devices in the order of their ids, with their verdict for a release if one is named.",
        get_devices,
        answer=FleetAnswer,
        query=("selector", "release", "after", "state"),
    ),
)
