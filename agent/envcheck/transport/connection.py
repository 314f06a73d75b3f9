"""How connections are made: whom we trust, how often we try, and what went wrong in plain words."""

from __future__ import annotations

import os
import random
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envcheck import __version__
from envcheck.errors import BadInput

if TYPE_CHECKING:
    from requests import PreparedRequest, Session
    from urllib3.util.retry import Retry

_RETRIES = 3
_RETRY_AFTER_CAP_S = 30.0


def new_session() -> Session:
    """Return a session that tries a few times and takes proxies from the environment."""
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.auth = _no_netrc
    session.headers.update({"User-Agent": f"envcheck/{__version__}", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=_retry()))
    return session


def trust(ca_bundle: str) -> str | bool:
    """Return what to verify certificates against; given with each request, it is never overruled."""
    for named in (ca_bundle, os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("CURL_CA_BUNDLE")):
        if named:
            if not Path(named).exists():
                raise BadInput(f"there is no certificate bundle {named}", "correct ca_bundle")
            return named
    system = ssl.get_default_verify_paths()
    if system.cafile:
        return system.cafile
    return system.capath if system.capath and any(Path(system.capath).iterdir()) else True


def retry_after(header: str | None) -> int | None:
    """Return the seconds that a Retry-After field says, at most a day; None when it says none."""
    if header is None or not header.strip().isdecimal() or len(header) > 20:
        return None
    return min(int(header), 86400)


def plain_reason(error: BaseException) -> str:
    """Find the plain words in an exception of requests, which wraps several others."""
    seen: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        current = pending.pop(0)
        if isinstance(current, BaseException) and current not in seen:
            seen.append(current)
            pending += [getattr(current, "reason", None), current.__context__, *current.args]
    for current in seen:
        if isinstance(current, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {current.verify_message}"
    for current in seen:
        if isinstance(current, OSError) and current.strerror:
            return current.strerror
    named = [type(current).__name__ for current in seen]
    return next((words for name, words in _PLAIN.items() if name in named), named[0])


# The first that is among the wrapped ones says most.
_PLAIN = {
    "ConnectTimeoutError": "no connection in time",
    "InvalidURL": "its address is malformed",
    "LocationParseError": "its address is malformed",
    "NameResolutionError": "its name is not known",
    "ReadTimeoutError": "it did not answer in time",
    "RemoteDisconnected": "it closed the connection without an answer",
    "ProtocolError": "its answer broke off or is no HTTP",
    "ValueError": "its answer names an address that is malformed",
}


def _retry() -> Retry:
    from urllib3.exceptions import InvalidHeader, MaxRetryError
    from urllib3.util.retry import Retry

    class Capped(Retry):
        """Honours Retry-After: waits as long, and some more, or leaves it to a later run."""

        def get_retry_after(self, response: Any) -> float | None:
            try:
                wanted = super().get_retry_after(response)
            except (InvalidHeader, ValueError, OverflowError):  # no time at all, or one beyond all years
                return None
            # Those that were turned away together must not come back together.
            return None if wanted is None else wanted * random.uniform(1, 1.5)  # noqa: S311  (no secret)

        def increment(
            self, method: Any = None, url: Any = None, response: Any = None, *arguments: Any, **named: Any
        ) -> Capped:
            if response is not None and (self.get_retry_after(response) or 0) > _RETRY_AFTER_CAP_S:
                # Longer than a run may last: the answer itself is handed on.
                raise MaxRetryError(named.get("_pool"), url or "", None)  # type: ignore[arg-type]
            left = super().increment(method, url, response, *arguments, **named)
            if response is not None:
                # Before it tries again, urllib3 would read the rest of this answer into memory, however long.
                response.close()
            return left

    # Every request of ours may be repeated: the same bytes get the same answer.
    return Capped(
        total=_RETRIES,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )


def _no_netrc(request: PreparedRequest) -> PreparedRequest:
    # With any `auth` set, requests does not put a password from ~/.netrc in place of our header.
    return request
