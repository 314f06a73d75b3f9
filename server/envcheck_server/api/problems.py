"""Errors as answers: one shape, the right status, and nothing of the collector's insides."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response import Response

from envcheck.contract.document import encode
from envcheck.contract.wire import Problem
from envcheck.errors import EnvcheckError
from envcheck_server.service.errors import (
    Busy,
    Conflict,
    Forbidden,
    NotKnown,
    TooLarge,
    TooSlow,
    Unauthenticated,
)
from envcheck_server.service.request_id import request_id
from envcheck_server.store.interface import StoreBusy, StoreFull

_LOG = logging.getLogger("envcheck_server")

# The first class that fits decides; any other error of a user's making is a 400. The words are for metrics.
_STATUSES: tuple[tuple[type[EnvcheckError], int, str], ...] = (
    (NotKnown, 404, "not_known"),
    (Unauthenticated, 401, "unauthenticated"),
    (Forbidden, 403, "forbidden"),
    (Conflict, 409, "conflict"),
    (TooLarge, 413, "too_large"),
    (TooSlow, 408, "too_slow"),
    (Busy, 503, "busy"),
    (StoreBusy, 503, "store_busy"),
    (StoreFull, 507, "store_full"),
    (EnvcheckError, 400, "bad_input"),
)
_OWN_WORDS = {
    404: "there is no such route",
    405: "this route has no such method",
    413: "the body is too large",
}


def answering(
    refuse: Callable[[str], None],
) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Return what turns any error into an answer, and tells `refuse` the reason.

    What is not a user's fault is logged there and told to nobody.
    """

    def answer(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        if isinstance(error, EnvcheckError):
            status, reason = _status(error)
            refuse(reason)
            _LOG.debug("refused with %s: %s", status, error.message)
            return problem(status, error.message, error.hint, headers=_headers(error))
        if isinstance(error, HTTPException) and error.status_code < 500:
            refuse("no_route")
            words = _OWN_WORDS.get(error.status_code, "the request can't be understood")
            return problem(error.status_code, words, "docs/wire.md lists the routes")
        refuse("failed")
        _LOG.error("a request failed", exc_info=error)
        named = request_id()
        hint = f"whoever runs it finds there: request {named}" if named else ""
        return problem(500, "the collector failed to answer; its log says why", hint)

    return answer


def problem(
    status: int, message: str, hint: str = "", *, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """Answer with a Problem."""
    named = request_id()
    return Response(
        encode(Problem(message=message, hint=hint)),
        status_code=status,
        headers={**(headers or {}), "X-Request-Id": named} if named else headers,
        media_type="application/json",
    )


def _status(error: EnvcheckError) -> tuple[int, str]:
    return next((status, reason) for kind, status, reason in _STATUSES if isinstance(error, kind))


def _headers(error: EnvcheckError) -> dict[str, str] | None:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="envcheck"'}
    if isinstance(error, TooSlow):
        return {"Connection": "close"}
    if isinstance(error, Busy):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, StoreFull):
        return {"Retry-After": "60"}
    return {"Retry-After": "5"} if isinstance(error, StoreBusy) else None
