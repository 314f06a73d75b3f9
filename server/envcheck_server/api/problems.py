"""Errors as answers: one shape, the right status, and nothing of the collector's insides."""

from __future__ import annotations

import logging
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
from envcheck_server.store.interface import StoreBusy, StoreFull

_LOG = logging.getLogger("envcheck_server")

# The first class that fits decides; any other error of a user's making is a 400.
_STATUSES: tuple[tuple[type[EnvcheckError], int], ...] = (
    (NotKnown, 404),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (Conflict, 409),
    (TooLarge, 413),
    (TooSlow, 408),
    (Busy, 503),
    (StoreBusy, 503),
    (StoreFull, 507),
)
_OWN_WORDS = {
    404: "there is no such route",
    405: "this route has no such method",
    413: "the body is too large",
}


def answer_error(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Turn any error into an answer. What is not a user's fault is logged here and told to nobody."""
    if isinstance(error, EnvcheckError):
        return problem(_status(error), error.message, error.hint, headers=_headers(error))
    if isinstance(error, HTTPException) and error.status_code < 500:
        words = _OWN_WORDS.get(error.status_code, "the request can't be understood")
        return problem(error.status_code, words, "docs/wire.md lists the routes")
    _LOG.error("a request failed", exc_info=error)
    return problem(500, "the collector failed to answer; its log says why")


def problem(
    status: int, message: str, hint: str = "", *, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """Answer with a Problem."""
    return Response(
        encode(Problem(message=message, hint=hint)),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def _status(error: EnvcheckError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 400)


def _headers(error: EnvcheckError) -> dict[str, str] | None:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="envcheck"'}
    if isinstance(error, TooSlow):
        return {"Connection": "close"}
    if isinstance(error, Busy):
        return {"Retry-After": str(error.retry_after_s)}
    return {"Retry-After": "5"} if isinstance(error, StoreBusy) else None
