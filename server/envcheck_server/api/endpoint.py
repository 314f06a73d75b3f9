"""The one door: every route says who may use it, and nobody else comes past `admit`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from litestar import Request
from litestar.response.base import ASGIResponse

from envcheck.contract.document import Document, decode
from envcheck.contract.http_signature import SignedRequest
from envcheck.errors import BadInput
from envcheck_server.api.room import Room
from envcheck_server.api.together import Together
from envcheck_server.service.authentication import Speaker, read_claim, read_signed
from envcheck_server.service.errors import Forbidden, TooLarge, TooSlow, Unauthenticated
from envcheck_server.service.services import Services
from envcheck_server.settings import Settings
from envcheck_server.store.values import Device, Scope, Token

T = TypeVar("T")
D = TypeVar("D", bound=Document)

HttpRequest = Request[Any, Any, Any]
# A sender slower than this, in bytes a second, is not waited for.
_SLOWEST = 8 * 1024
_PATIENCE_S = 30.0
# Large bodies that are held at a time.
_MOST_HELD = 24 * 1024 * 1024

Limit = Literal["max_report_bytes", "max_object_bytes", "max_document_bytes", "max_bundle_bytes"]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a route. Where several are named, any of them may; without any, everybody.

    `device`: "new" is whoever signs, with a key that need not be known; "speaker" a known key, whose state
    the route checks itself; "accepted" a device that may speak now.
    """

    device: Literal["", "new", "speaker", "accepted"] = ""
    scopes: tuple[Scope, ...] = ()


EVERYBODY = Access()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in."""

    request: HttpRequest
    site: Site
    endpoint: Endpoint
    body: bytes
    signed: SignedRequest | None = None
    speaker: Speaker | None = None
    device: Device | None = None
    token: Token | None = None

    @property
    def by(self) -> str:
        """Return who asks, as the audit log names them."""
        return f"token:{self.token.id}" if self.token else f"key:{self.signed.keyid}" if self.signed else ""

    def part(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str:
        """Return a field of the query, "" when it is not there."""
        return str(self.request.query_params.get(name, ""))

    def document(self, kind: type[D]) -> D:
        """Decode the body; raises BadInput with the path of what does not fit."""
        return decode(self.body, kind, "the body")


Handler = Callable[[Call], Awaitable[Document | ASGIResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one route.

    `body` and `answer` are documents, or None for bytes, an answer's of the type `media`; `limit` bounds the
    body, None allows none. A body that is `streamed` is read by the endpoint itself, as `pieces`.
    """

    method: Literal["GET", "POST", "PUT"]
    path: str
    access: Access
    summary: str
    run: Handler
    body: type[Document] | tuple[type[Document], ...] | None = None
    answer: type[Document] | None = None
    limit: Limit | None = None
    query: tuple[str, ...] = ()
    gzip: bool = False
    streamed: bool = False
    media: str = "application/octet-stream"
    ranges: bool = False

    @property
    def template(self) -> str:
        """Return the path as people write it: /v1/objects/{sha256}."""
        return re.sub(r"\{(\w+):\w+\}", r"{\1}", self.path)


@dataclass(frozen=True, slots=True)
class Site:
    """What a route works with: the services, and threads for what blocks."""

    services: Services
    settings: Settings
    readers: ThreadPoolExecutor
    keys: Together = field(init=False)
    room: Room = field(init=False)

    def __post_init__(self) -> None:
        learn = self.services.authentication.learn
        object.__setattr__(self, "room", Room(_MOST_HELD, self.settings.retry_after_s))
        object.__setattr__(self, "keys", Together(lambda keyids: self.read(learn, keyids)))

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking question in a thread."""
        run = partial(copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self.readers, run)

    async def write(self, job: Callable[[], T]) -> T:
        """Run a job that writes, in its turn."""
        return await self.services.writer.run(job)


async def serve(request: HttpRequest, site: Site, endpoint: Endpoint) -> Document | ASGIResponse:
    """Let a request in and run its endpoint."""
    try:
        return await endpoint.run(await admit(request, site, endpoint))
    finally:
        site.room.leave(id(request))


async def admit(request: HttpRequest, site: Site, endpoint: Endpoint) -> Call:
    """Return the request with its body and who sent it.

    Raises Unauthenticated, Forbidden, TooLarge or TooSlow. A bearer, and the key that a device says it signed
    with, are known before the body is read.
    """
    access = endpoint.access
    headers = _headers(request)
    bearer = headers.get("authorization")
    if access.scopes and (bearer is not None or not access.device):
        token = await site.read(site.services.tokens.authorise, _bearer(bearer), access.scopes)
        return Call(request, site, endpoint, await _body(request, site, endpoint, headers), token=token)
    if not access.device:
        return Call(request, site, endpoint, await _body(request, site, endpoint, headers))
    if "signature" not in headers:
        if bearer is not None:
            raise Forbidden("a token may not do this: only a device may", "devices sign every request")
        raise Unauthenticated("the request is not signed", "devices sign every request: docs/wire.md")
    if access.device != "new":
        await _know_key(headers, site)
    body = await _body(request, site, endpoint, headers)
    signed = read_signed(request.method, _raw_path(request), _raw_query(request), body, headers)
    if access.device == "new":
        return Call(request, site, endpoint, body, signed)
    speaker = _speaker(request, site, signed)
    if access.device == "speaker":
        return Call(request, site, endpoint, body, signed, speaker)
    device = await site.read(site.services.authentication.accepted, speaker)
    return Call(request, site, endpoint, body, signed, speaker, device)


async def _know_key(headers: Mapping[str, str], site: Site) -> None:
    """Refuse a stranger before anything of the body is held; raises Unauthenticated."""
    keyid = read_claim(headers)
    authentication = site.services.authentication
    if not authentication.knows(keyid):
        await site.keys.about(keyid)
        authentication.require(keyid)


def _speaker(request: HttpRequest, site: Site, signed: SignedRequest) -> Speaker:
    """Return who signed; raises Unauthenticated, or Forbidden where the path names another device."""
    speaker = site.services.authentication.verify(signed)
    if request.path_params.get("device", speaker.device) != speaker.device:
        raise Forbidden(f"{speaker.device} may not speak for another device")
    return speaker


def _headers(request: HttpRequest) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _bearer(header: str | None) -> str:
    kind, _, token = (header or "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthenticated("the request carries no token", "send it as: Authorization: Bearer TOKEN")
    return token.strip()


def _raw_path(request: HttpRequest) -> str:
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode("ascii", "replace")
    return raw.partition(b"?")[0].decode("latin-1")


def _raw_query(request: HttpRequest) -> str:
    query: bytes = request.scope.get("query_string", b"")
    return query.decode("latin-1")


async def _receive(request: HttpRequest, until: float) -> Any:
    try:
        async with asyncio.timeout_at(until):
            return await request.receive()
    except TimeoutError:
        raise TooSlow("the body came too slowly", "try again, over a better connection") from None


async def _body(request: HttpRequest, site: Site, endpoint: Endpoint, headers: Mapping[str, str]) -> bytes:
    """Read the body, unless the endpoint reads it itself."""
    _check_head(headers, endpoint, _limit(site, endpoint))
    if endpoint.streamed:
        return b""
    found, size = [], 0
    async for piece in pieces(request, site, endpoint):
        size += len(piece)
        site.room.hold(id(request), size)
        found.append(piece)
    return b"".join(found)


async def pieces(request: HttpRequest, site: Site, endpoint: Endpoint) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, never more than the endpoint's limit of it.

    Raises TooLarge, TooSlow, or BadInput when it breaks off or comes in an encoding that is not read here.
    """
    limit = _limit(site, endpoint)
    begun = asyncio.get_running_loop().time()
    size, more = 0, True
    while more:
        event = await _receive(request, begun + _PATIENCE_S + size / _SLOWEST)
        if event["type"] == "http.disconnect":
            raise BadInput("the body broke off")
        piece = event.get("body", b"")
        size += len(piece)
        site.services.metrics.traffic.received += len(piece)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes")
        more = event.get("more_body", False)
        yield piece


def _limit(site: Site, endpoint: Endpoint) -> int:
    return getattr(site.settings, endpoint.limit) if endpoint.limit else 0


def _check_head(headers: Mapping[str, str], endpoint: Endpoint, limit: int) -> None:
    """Refuse what the headers alone tell; raises TooLarge or BadInput."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip") or (encoding == "gzip" and not endpoint.gzip):
        raise BadInput(f"a body of the encoding {encoding[:40]!r} is not read here")
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise TooLarge(f"the body has more than {limit} bytes")
