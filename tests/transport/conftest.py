"""A server whose answers a test decides, and no proxies or long waits in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.served import Answer, Served


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try as often as in life, but do not wait long in between."""
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda _self: 0.01)
