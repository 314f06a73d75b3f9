"""Every request has a name, by which its answer and its lines in the log are found together."""

from __future__ import annotations

import itertools
import secrets
from contextvars import ContextVar

# Of this process, so that several collectors and a restarted one never share a name.
_PREFIX = secrets.token_hex(4)
_NUMBERS = itertools.count(1)
_CURRENT: ContextVar[int] = ContextVar("request")


def begin_request() -> None:
    """Give what runs here from now on a new name."""
    _CURRENT.set(next(_NUMBERS))


def request_id() -> str:
    """Return the name of the request that is answered here, "" outside of one."""
    number = _CURRENT.get(0)
    return f"{_PREFIX}-{number}" if number else ""
