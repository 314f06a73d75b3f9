"""Whether the collector lives, whether it can work, and what it offers."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from litestar.response.base import ASGIResponse

from envcheck.contract.document import Document
from envcheck_server.api.endpoint import EVERYBODY, Access, Call, Endpoint
from envcheck_server.service.metrics import CONTENT_TYPE


class Health(Document, frozen=True, kw_only=True):
    """The collector answers."""

    FORMAT: ClassVar[str] = "envcheck.health/1.0"

    status: str


async def healthz(call: Call) -> Document | ASGIResponse:
    """Answer at all, unless only a new start would help."""
    call.site.services.readiness.check_life()
    return Health(status="ok")


async def readyz(call: Call) -> Document | ASGIResponse:
    """Answer "ready" when the store can be read and written."""
    await call.site.services.readiness.check()
    return Health(status="ready")


async def openapi(_call: Call) -> Document | ASGIResponse:
    """Describe the routes and every document."""
    from envcheck_server.api.openapi import describe

    return ASGIResponse(body=msgspec.json.encode(describe()), media_type="application/json")


async def metrics(call: Call) -> Document | ASGIResponse:
    """Tell what is counted."""
    # In a thread: once in a while this counts devices.
    text = await call.site.read(call.site.services.metrics.text)
    return ASGIResponse(body=text, headers={"Content-Type": CONTENT_TYPE})


ENDPOINTS = (
    Endpoint("GET", "/healthz", EVERYBODY, "Is the process alive?", healthz, answer=Health),
    Endpoint("GET", "/readyz", EVERYBODY, "Can the store be written?", readyz, answer=Health),
    Endpoint(
        "GET",
        "/schema/openapi.json",
        EVERYBODY,
        "This description.",
        openapi,
        media="application/json",
    ),
    Endpoint(
        "GET",
        "/metrics",
        Access(scopes=("metrics:read",)),
        "What the collector counts of itself, as Prometheus reads it.",
        metrics,
        media="text/plain",
    ),
)
