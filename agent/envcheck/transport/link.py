"""One collector over HTTP: what it answers is bounded, and taken only when it is one of our documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

from envcheck.contract.document import Document, decode
from envcheck.contract.wire import Problem
from envcheck.errors import BadInput, EnvcheckError, Unreachable
from envcheck.transport.connection import new_session, plain_reason, retry_after, trust

if TYPE_CHECKING:
    from requests import Response, Session

D = TypeVar("D", bound=Document)

# A view is for what is too large to be held in memory: tokens speak for it, no device signs it.
Body = bytes | memoryview
# method, path, query, body -> header fields that say who asks
Credentials = Callable[[str, str, str, Body], Mapping[str, str]]

MAX_ANSWER = 1024 * 1024
_CONNECT_S = 10.0
_CHUNK = 64 * 1024


class Refused(BadInput):
    """The collector said no for good, with a `status` of 400 to 499 and its own words."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class Later(Unreachable):
    """The collector can't just now, and says after how many seconds to come again (None: it does not say)."""

    def __init__(self, message: str, hint: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class Redirected(Unreachable):
    """The answer is elsewhere, at `target` as it was told."""

    def __init__(self, message: str, hint: str, target: str) -> None:
        super().__init__(message, hint)
        self.target = target


def collector_url(text: str) -> str:
    """Return `text` as scheme://host[:port]; raises BadInput for anything that can't be a collector."""
    hint = "a collector's URL is like https://envcheck.example.com or http://127.0.0.1:8484, without a path"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadInput(f"{text[:200]!r} is not a URL", hint) from None
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput(f"{text[:200]!r} is not the URL of a collector", hint)
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadInput(f"the URL of the collector at {host} has more than a host and a port", hint)
    return f"{parts.scheme}://{parts.netloc}"


def anonymous(_method: str, _path: str, _query: str, _body: Body) -> Mapping[str, str]:
    """Say nothing about who asks: for mirrors, which are not the collector."""
    return {}


def bearer(token: str) -> Credentials:
    """Speak as the holder of a token: CI and people."""
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise BadInput("the token holds characters that no token has", "copy it again, without line breaks")
    return lambda _method, _path, _query, _body: {"Authorization": f"Bearer {token}"}


class Link:
    """A connection to one collector. Nothing is sent before the first request."""

    def __init__(self, url: str, credentials: Credentials = anonymous, *, ca_bundle: str = "") -> None:
        self.url = collector_url(url)
        self._credentials = credentials
        self.ca_bundle = ca_bundle
        self._session: Session | None = None

    def ask(
        self,
        method: str,
        path: str,
        kind: type[D],
        body: Body = b"",
        *,
        content_type: str = "application/json",
        encoding: str = "",
        read_s: float = 60.0,
        limit: int = MAX_ANSWER,
    ) -> D:
        """Send one request and return the document of `kind` that answers it, of at most `limit` bytes.

        Raises Refused with the collector's own message for 4xx, Unreachable for everything that is not a
        collector's answer: no connection, 5xx, another host, a captive portal's page, other bytes.
        """
        headers = {"Content-Type": content_type} if body else {}
        if encoding:
            headers["Content-Encoding"] = encoding
        with self.open(method, path, body, headers=headers, read_s=read_s) as response:
            data = _read(response, read_s, limit)
        return self._decode(data, kind, f"the answer of {self.url}{path}")

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: Body = b"",
        *,
        headers: Mapping[str, str] | None = None,
        read_s: float = 60.0,
    ) -> Iterator[Response]:
        """Send one request; yield the answer, its body unread, once it is known to be a success of ours."""
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        route, _, query = path.partition("?")
        identity = self._credentials(method, route, query, body)
        try:
            self._session = self._session or new_session()
            response = self._session.request(
                method,
                self.url + path,
                # A view is sent as bytes are, which the stubs do not know.
                data=cast(bytes, body) if len(body) else None,
                headers={**(headers or {}), **identity},
                timeout=(_CONNECT_S, read_s),
                allow_redirects=False,
                stream=True,
                verify=trust(self.ca_bundle),
            )
        except (RequestException, HTTPError, ValueError) as error:  # the last: a Location that is no address
            raise self._unreachable(error) from None
        with response:
            try:
                self._refuse(response, path)
                yield response
            except (RequestException, HTTPError) as error:
                raise self._unreachable(error) from None

    def _refuse(self, response: Response, path: str) -> None:
        where, status = f"{self.url}{path}", response.status_code
        if response.is_redirect or 300 <= status < 400:
            target = response.headers.get("Location", "")
            told = f"{where} redirects to {target[:200] or 'nowhere'}, which was not followed"
            raise Redirected(told, _PORTAL, target)
        if status >= 500 or status in _LATER:
            raise Later(
                f"{where} answered {status} {response.reason}",
                self._told(response, status),
                retry_after(response.headers.get("Retry-After")),
            )
        if status >= 400:
            problem = self._decode(_read(response, 60.0), Problem, f"the answer {status} of {where}")
            raise Refused(status, problem.message, problem.hint)

    def _told(self, response: Response, status: int) -> str:
        """Return the collector's own words for a failure, or a general hint."""
        try:
            problem = self._decode(_read(response, 10.0), Problem, "the answer")
        except EnvcheckError:
            return "try again later" if status in (*_LATER, 503) else "see the collector's log"
        return f"{problem.message}; {problem.hint}" if problem.hint else problem.message

    def _decode(self, data: bytes, kind: type[D], source: str) -> D:
        try:
            return decode(data, kind, source)
        except BadInput as error:
            raise Unreachable(error.message, error.hint or _PORTAL) from None

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = plain_reason(error)
        hint = (
            "name the authority's certificate with ca_bundle in the configuration, or in REQUESTS_CA_BUNDLE"
            if "certificate" in reason.lower()
            else "check the address, the network and the proxy; is the collector running?"
        )
        return Unreachable(f"the collector {self.url} can't be reached: {reason}", hint)


# "Too slow" and "too many": the request itself is fine.
_LATER = (408, 429)
_PORTAL = "something else may have answered for the collector: a captive portal, a proxy, another service"


def _read(response: Response, within_s: float, limit: int = MAX_ANSWER) -> bytes:
    """Read a body of bounded size in bounded time, however slowly it drips."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise Unreachable(f"{response.url} answered in the encoding {encoding[:40]!r}", _PORTAL)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        what = kind[:80] or "something without a type"
        raise Unreachable(f"{response.url} answered {what} ({response.status_code}), not a document", _PORTAL)
    data, deadline = bytearray(), time.monotonic() + within_s
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        data += chunk
        if len(data) > limit or time.monotonic() > deadline:
            _endless(response)
    return bytes(data)


def _endless(response: Response) -> NoReturn:
    raise Unreachable(f"{response.url} answered more, or more slowly, than a collector does", _PORTAL)
