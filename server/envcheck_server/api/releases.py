"""What CI asks: bundles, releases, the gate. Devices fetch bundles here too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from envcheck.contract.document import Document
from envcheck.contract.wire import (
    BundleAnswer,
    GateAnswer,
    GateQuestion,
    ReleaseAnswer,
    ReleasePush,
    ReleasesAnswer,
)
from envcheck.errors import BadInput
from envcheck_server.api.endpoint import Access, Call, Endpoint, Site, pieces
from envcheck_server.api.upload import Upload
from envcheck_server.service.releases import answer_of

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def put_bundle(call: Call) -> Document | ASGIResponse:
    """Store a signed bundle under its digest. However large, it passes through memory in pieces."""
    site, releases = call.site, call.site.services.releases
    with Upload(site.services.store.scratch) as upload:
        async for piece in pieces(call.request, site, call.endpoint):
            await site.read(upload.add, piece)
        if upload.digest() != call.part("sha256"):
            raise BadInput("the bundle's bytes do not have the digest that they are sent under")
        data = upload.view()
        bundle = await site.read(releases.open_bundle, call.part("sha256"), data)
        return await site.write(lambda: releases.put_bundle(bundle, data, by=call.by))


async def get_bundle(call: Call) -> Document | ASGIResponse:
    """Send a bundle, or the range of it that is asked for."""
    sha256 = call.part("sha256")
    bundle = await call.site.read(call.site.services.releases.bundle, sha256)
    tag = f'"{sha256}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private, immutable, max-age=31536000"}
    if tag in call.request.headers.get("if-none-match", ""):
        return ASGIResponse(status_code=304, headers=headers)
    asked = call.request.headers.get("range", "")
    if call.request.headers.get("if-range", tag) != tag:
        asked = ""
    found = _RANGE.fullmatch(asked)
    start, stop = (0, bundle.size) if found is None else _bounds(found[1], found[2], bundle.size)
    if start >= stop:
        headers["Content-Range"] = f"bytes */{bundle.size}"
        return ASGIResponse(status_code=416, headers=headers, media_type="application/octet-stream")
    if found is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{bundle.size}"
    headers["Content-Length"] = str(stop - start)
    stored = call.site.services.store.releases.read_bundle(sha256, start, stop)
    return ASGIStreamingResponse(
        iterator=_in_threads(call.site, stored),
        status_code=200 if found is None else 206,
        headers=headers,
        media_type="application/octet-stream",
    )


async def put_release(call: Call) -> Document | ASGIResponse:
    """Create a release, or a new revision of its policy and selector."""
    push = call.document(ReleasePush)
    releases = call.site.services.releases
    return await call.site.write(lambda: releases.push(call.part("release"), push, by=call.by))


async def get_releases(call: Call) -> Document | ASGIResponse:
    """List releases, newest first."""
    releases = await call.site.read(call.site.services.releases.all)
    return ReleasesAnswer(releases=[answer_of(release) for release in releases])


async def ask_gate(call: Call) -> Document | ASGIResponse:
    """Answer whether devices are ready for a release."""
    return await call.site.read(call.site.services.gate.answer, call.document(GateQuestion))


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Return the half-open range that `bytes=first-last` means; an impossible one is empty."""
    if not first:
        return (max(0, size - int(last)), size) if last else (0, 0)
    return int(first), min(size, int(last) + 1) if last else size


async def _in_threads(site: Site, stored: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await site.read(next, stored, None)) is not None:
        yield piece


ENDPOINTS = (
    Endpoint(
        "PUT",
        "/v1/bundles/{sha256:str}",
        Access(scopes=("baseline:write",)),
        "Store a signed bundle.",
        put_bundle,
        None,
        BundleAnswer,
        "max_bundle_bytes",
        streamed=True,
    ),
    Endpoint(
        "GET",
        "/v1/bundles/{sha256:str}",
        Access(device="accepted", scopes=("baseline:write", "gate:read")),
        "Send a bundle; ranges are allowed.",
        get_bundle,
        ranges=True,
    ),
    Endpoint(
        "PUT",
        "/v1/releases/{release:str}",
        Access(scopes=("baseline:write",)),
        "Bind a bundle to a policy and to the devices that it is meant for.",
        put_release,
        ReleasePush,
        ReleaseAnswer,
        "max_document_bytes",
    ),
    Endpoint(
        "GET",
        "/v1/releases",
        Access(scopes=("baseline:write", "gate:read")),
        "List releases, newest first.",
        get_releases,
        answer=ReleasesAnswer,
    ),
    Endpoint(
        "POST",
        "/v1/gate",
        Access(scopes=("gate:read",)),
        "Say whether devices are ready for a release, and why not.",
        ask_gate,
        GateQuestion,
        GateAnswer,
        "max_document_bytes",
    ),
)
