"""Fetching bundles: only the named bytes, resumed, bounded, from a mirror or the collector."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.wire import Problem, ReleaseOffer
from envcheck.errors import BadInput, Unreachable
from envcheck.transport.bundles import LARGEST, BundleCache
from envcheck.transport.link import Link

BYTES = bytes(range(256)) * 1000
OFFER = ReleaseOffer(release="digits@1.3", sha256=digest(BYTES), size=len(BYTES))
BINARY = {"Content-Type": "application/octet-stream"}


class Cache:
    def __init__(self, served: Any, answer: Any, directory: Path) -> None:
        self.served, self.answer = served, answer
        self.said: list[str] = []
        self.cache = BundleCache(directory / "bundles", self.said.append)
        self.cut: int | None = None
        served.answers = self.serve

    def serve(self, asked: Any) -> Any:
        found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if found is None:
            return self.answer(200, BYTES, BINARY, self.cut)
        start = int(found.group(1))
        headers = {**BINARY, "Content-Range": f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"}
        return self.answer(206, BYTES[start:], headers, self.cut)

    def get(self, offer: ReleaseOffer = OFFER) -> bytes:
        return self.cache.get(offer, Link(self.served.url))

    def files(self) -> list[str]:
        return sorted(path.name for path in self.cache.directory.iterdir())


@pytest.fixture
def cache(served: Any, answer: Any, tmp_path: Path) -> Cache:
    return Cache(served, answer, tmp_path)


def test_a_bundle_is_fetched_once(cache: Cache) -> None:
    assert cache.get() == cache.get() == BYTES
    assert [asked.path for asked in cache.served.asked] == [f"/v1/bundles/{OFFER.sha256}"]
    assert cache.files() == [f"{OFFER.sha256}.envcheck"]


def test_a_damaged_copy_is_fetched_again(cache: Cache) -> None:
    cache.get()
    (cache.cache.directory / f"{OFFER.sha256}.envcheck").write_bytes(BYTES[:-1] + b"\0")
    assert cache.get() == BYTES
    assert len(cache.served.asked) == 2


def test_a_broken_download_goes_on_where_it_ended(cache: Cache) -> None:
    cache.cut = 100_000
    with pytest.raises(Unreachable):
        cache.get()
    assert cache.files() == [f"{OFFER.sha256}.part"]
    cache.cut = None
    assert cache.get() == BYTES
    resumed = cache.served.asked[-1].headers["range"]
    assert 0 < int(resumed.removeprefix("bytes=").removesuffix("-")) <= 100_000


def test_a_server_that_cannot_resume_starts_over(cache: Cache) -> None:
    cache.cut = 100_000
    with pytest.raises(Unreachable):
        cache.get()
    cache.served.answers = lambda _asked: cache.answer(200, BYTES, BINARY)
    assert cache.get() == BYTES


def test_other_bytes_are_thrown_away(cache: Cache) -> None:
    cache.served.answers = lambda _asked: cache.answer(200, BYTES[::-1], BINARY)
    with pytest.raises(Unreachable, match="other bytes"):
        cache.get()
    assert cache.files() == []


def test_more_than_was_offered_is_not_even_read(cache: Cache) -> None:
    cache.served.answers = lambda _asked: cache.answer(200, BYTES * 50, BINARY)
    with pytest.raises(Unreachable, match="larger than was offered"):
        cache.get()
    assert sum(path.stat().st_size for path in cache.cache.directory.iterdir()) <= len(BYTES)


@pytest.mark.parametrize(
    "wrong", [{"sha256": "../../etc/passwd"}, {"sha256": "A" * 64}, {"size": 0}, {"size": LARGEST + 1}]
)
def test_an_impossible_offer_is_refused_unasked(cache: Cache, wrong: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="impossible"):
        cache.get(msgspec.structs.replace(OFFER, **wrong))
    assert cache.served.asked == []


def test_a_full_disk_is_noticed_before_the_download(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    with pytest.raises(BadInput, match="1000 are free"):
        cache.get()
    assert cache.served.asked == []


def test_a_mirror_is_asked_first_and_anonymously(cache: Cache) -> None:
    offer = msgspec.structs.replace(OFFER, url=f"{cache.served.url}/mirror/model?sig=a")
    link = Link(cache.served.url, lambda *_request: {"Authorization": "Bearer token"})
    assert cache.cache.get(offer, link) == BYTES
    assert [asked.path for asked in cache.served.asked] == ["/mirror/model?sig=a"]
    assert "authorization" not in cache.served.asked[0].headers


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:9/x", "nonsense", "http://[::1"])
def test_a_mirror_that_does_not_help_leaves_the_collector(cache: Cache, url: str) -> None:
    assert cache.get(msgspec.structs.replace(OFFER, url=url)) == BYTES
    assert "the collector itself" in cache.said[0]


def test_a_mirror_with_other_bytes_leaves_the_collector(cache: Cache) -> None:
    wrong = cache.answer(200, BYTES[::-1], BINARY)
    cache.served.answers = lambda asked: wrong if "mirror" in asked.path else cache.serve(asked)
    assert cache.get(msgspec.structs.replace(OFFER, url=f"{cache.served.url}/mirror")) == BYTES
    assert "other bytes" in cache.said[0]


def test_only_what_is_offered_is_kept(cache: Cache) -> None:
    cache.get()
    (cache.cache.directory / f"{'a' * 64}.part").write_bytes(b"half")
    cache.cache.keep_only({OFFER.sha256})
    assert cache.files() == [f"{OFFER.sha256}.envcheck"]
    cache.cache.keep_only(set())
    assert cache.files() == []


def test_a_bundle_that_the_collector_lost(cache: Cache) -> None:
    gone = cache.answer(404, encode(Problem(message="no such bundle")), {"Content-Type": "application/json"})
    cache.served.answers = lambda _asked: gone
    with pytest.raises(BadInput, match="no such bundle"):
        cache.get()


REDIRECT = {"Content-Type": "text/html"}


def redirecting(cache: Cache, hops: dict[str, str]) -> None:
    """Let the server answer at the paths of `hops` that it is elsewhere."""

    def answer(asked: Any) -> Any:
        target = hops.get(asked.path)
        if target is None:
            return cache.serve(asked)
        return cache.answer(302, b"", {**REDIRECT, "Location": target})

    cache.served.answers = answer


def test_a_mirror_may_redirect_and_nobody_on_the_way_learns_who_asks(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    redirecting(cache, {"/a": "/b?x=1", "/b?x=1": cache.served.url.replace("127.0.0.1", "localhost") + "/c"})
    link = Link(cache.served.url, lambda *_request: {"Authorization": "Bearer token", "Signature": "sig1"})
    offer = msgspec.structs.replace(OFFER, url=f"{cache.served.url}/a")
    assert cache.cache.get(offer, link) == BYTES
    assert [asked.path for asked in cache.served.asked] == ["/a", "/b?x=1", "/c"]
    assert cache.served.asked[2].headers["host"].startswith("localhost")
    for asked in cache.served.asked:
        assert not {"authorization", "signature", "signature-input", "cookie"} & set(asked.headers)


@pytest.mark.parametrize(
    "target", ["/a", "file:///etc/passwd", "http://u:p@127.0.0.1/", "", "http://127.0.0.1:9/", "http://[::1"]
)
def test_a_redirect_that_leads_nowhere_leaves_the_collector(cache: Cache, target: str) -> None:
    redirecting(cache, {"/a": target})
    assert cache.get(msgspec.structs.replace(OFFER, url=f"{cache.served.url}/a")) == BYTES
    assert len(cache.served.asked) <= 6
    assert "the collector itself" in cache.said[0]


def test_the_collector_itself_is_not_left_for_another(cache: Cache) -> None:
    redirecting(cache, {f"/v1/bundles/{OFFER.sha256}": "/elsewhere"})
    with pytest.raises(Unreachable, match="not followed"):
        cache.get()
    assert len(cache.served.asked) == 1


def test_a_mirror_that_breaks_off_after_other_bytes_spoils_nothing(cache: Cache) -> None:
    """What it left is continued by the collector, found to be wrong, and fetched as a whole."""
    spoilt = cache.answer(200, BYTES[::-1], BINARY, 100_000)
    cache.served.answers = lambda asked: spoilt if "mirror" in asked.path else cache.serve(asked)
    offer = msgspec.structs.replace(OFFER, url=f"{cache.served.url}/mirror")
    assert cache.get(offer) == BYTES
    asked = [one for one in cache.served.asked if "mirror" not in one.path]
    assert ["range" in one.headers for one in asked] == [True, False]


def test_a_mirror_that_breaks_off_is_continued_by_the_collector(cache: Cache) -> None:
    broken = cache.answer(200, BYTES, BINARY, 100_000)
    cache.served.answers = lambda asked: broken if "mirror" in asked.path else cache.serve(asked)
    assert cache.get(msgspec.structs.replace(OFFER, url=f"{cache.served.url}/mirror")) == BYTES
    assert cache.served.asked[-1].headers["range"] != "bytes=0-"
    assert len(cache.served.asked) <= 3


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_mirror_that_has_it_not_leaves_the_collector(cache: Cache, status: int) -> None:
    gone = cache.answer(status, b"<html>no</html>", {"Content-Type": "text/html"})
    cache.served.answers = lambda asked: gone if "mirror" in asked.path else cache.serve(asked)
    assert cache.get(msgspec.structs.replace(OFFER, url=f"{cache.served.url}/mirror")) == BYTES
