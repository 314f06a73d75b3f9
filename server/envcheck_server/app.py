"""The application: the only place where store, services and routes meet."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from envcheck.contract.document import Document, encode_answer
from envcheck_server.api.endpoint import Endpoint, HttpRequest, Site, serve
from envcheck_server.api.endpoints import ENDPOINTS
from envcheck_server.api.problems import answering
from envcheck_server.service.request_id import begin_request
from envcheck_server.service.services import Services, make_services
from envcheck_server.settings import Settings
from envcheck_server.store.interface import Store

Handle = Callable[[HttpRequest], Awaitable[Document | ASGIResponse]]

# The route that nearly every request is for.
_HOT = ("PUT", "/v1/devices/{device:str}/report")
_HOT_PATH = re.compile(r"/v1/devices/([^/]+)/report")


class Collector(Litestar):
    """The application. Reports go to their handler at once: finding a route takes as long as reading one."""

    __slots__ = ("_answer", "_report")

    def __init__(self, site: Site, **options: Any) -> None:
        handlers = [(one, _handler(site, one)) for one in ENDPOINTS]
        self._report = next(handle for one, handle in handlers if (one.method, one.path) == _HOT)
        self._answer = answering(site.services.metrics.refuse)
        super().__init__(
            route_handlers=[_route(one, handle) for one, handle in handlers],
            exception_handlers={Exception: self._answer},
            **options,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        hot = scope["type"] == "http" and scope["method"] == _HOT[0]
        found = _HOT_PATH.fullmatch(scope["path"]) if hot else None
        if found is None:
            await super().__call__(scope, receive, send)
            return
        scope["path_params"] = {"device": found[1]}
        request: HttpRequest = Request(scope, receive, send)
        try:
            result = await self._report(request)
            response = result if isinstance(result, ASGIResponse) else _Answer(result)
        except Exception as error:  # noqa: BLE001  (every error has an answer, as for any other route)
            response = self._answer(request, error).to_asgi_response(None, request)
        await response(scope, receive, send)


class _Answer:
    """A document that is sent as it is: no cookies, no encoding, nothing to do afterwards."""

    __slots__ = ("_body",)

    def __init__(self, document: Document) -> None:
        self._body = encode_answer(document)

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        size = str(len(self._body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def create_app(
    settings: Settings, store: Store, make: Callable[[Settings, Store], Services] = make_services
) -> Litestar:
    """Return the collector as an ASGI application. What waits to be written is written when it stops."""
    site = Site(
        services=make(settings, store),
        settings=settings,
        readers=ThreadPoolExecutor(settings.read_threads, thread_name_prefix="reader"),
    )

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        yield
        site.services.writer.close()
        site.readers.shutdown()

    return Collector(
        site,
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
        # The server counts its connections here.
        state=State({"traffic": site.services.metrics.traffic}),
    )


def _handler(site: Site, endpoint: Endpoint) -> Handle:
    timing = site.services.metrics.traffic.route(endpoint.method, endpoint.template)

    async def handle(request: HttpRequest) -> Document | ASGIResponse:
        begin_request()
        begun = time.perf_counter()
        try:
            return await serve(request, site, endpoint)
        finally:
            timing.observe(time.perf_counter() - begun)

    return handle


def _route(endpoint: Endpoint, handle: Handle) -> HTTPRouteHandler:
    async def respond(request: HttpRequest) -> ASGIResponse:
        result = await handle(request)
        if isinstance(result, ASGIResponse):
            return result
        return ASGIResponse(body=encode_answer(result), media_type="application/json")

    return HTTPRouteHandler(endpoint.path, http_method=endpoint.method, status_code=200)(respond)
