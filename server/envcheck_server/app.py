"""The application: the only place where store, services and routes meet."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from envcheck_server.api.endpoint import Endpoint, HttpRequest, Site, serve
from envcheck_server.api.endpoints import ENDPOINTS
from envcheck_server.api.problems import answering
from envcheck_server.service.request_id import begin_request
from envcheck_server.service.services import Services, make_services
from envcheck_server.settings import Settings
from envcheck_server.store.interface import Store


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

    return Litestar(
        route_handlers=[_route(site, endpoint) for endpoint in ENDPOINTS],
        lifespan=[lifespan],
        exception_handlers={Exception: answering(site.services.metrics.refuse)},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
        # The server counts its connections here.
        state=State({"traffic": site.services.metrics.traffic}),
    )


def _route(site: Site, endpoint: Endpoint) -> HTTPRouteHandler:
    timing = site.services.metrics.traffic.route(endpoint.method, endpoint.template)

    async def handle(request: HttpRequest) -> ASGIResponse:
        begin_request()
        begun = time.perf_counter()
        try:
            return await serve(request, site, endpoint)
        finally:
            timing.observe(time.perf_counter() - begun)

    return HTTPRouteHandler(endpoint.path, http_method=endpoint.method, status_code=200)(handle)
