"""Bundles fetched from a collector or a mirror: content-addressed, resumed where they broke off, bounded.

However large a bundle is, it passes through memory in pieces, and what is returned is a view of its file.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from envcheck.contract.wire import ReleaseOffer
from envcheck.errors import BadInput, Unreachable
from envcheck.transport.files import file_digest, map_file, refuse_write, sync_directory
from envcheck.transport.link import Link, Redirected

if TYPE_CHECKING:
    from requests import Response

LARGEST = 4 * 1024**3
_RESERVE = 64 * 1024**2
_CHUNK = 1024 * 1024
# A sender slower than this, in bytes a second, is left; the next report goes on from what came.
_SLOWEST = 8 * 1024
_PATIENCE_S = 60
_MOST_HOPS = 5
_SHA256 = re.compile(r"[0-9a-f]{64}")

Notice = Callable[[str], None]


class OtherBytes(Unreachable):
    """What came is not what the digest names."""


class BundleCache:
    """Bundle files by digest. What is returned was verified against the digest in this very call."""

    def __init__(self, directory: Path, notice: Notice) -> None:
        self.directory = directory
        self._notice = notice

    def get(self, offer: ReleaseOffer, link: Link) -> memoryview:
        """Return the bytes of an offered bundle, mapped from its file and fetched if need be.

        Raises Unreachable when they can't be had, or when what came is not what was named.
        """
        if not _SHA256.fullmatch(offer.sha256) or not 0 < offer.size <= LARGEST:
            raise Unreachable(
                f"the collector offers {offer.release[:140]!r} with an impossible digest or size",
                f"a bundle has at most {LARGEST} bytes",
            )
        held = self._held(offer.sha256)
        return self._fetch(offer, link) if held is None else held

    def keep_only(self, wanted: Collection[str]) -> None:
        """Remove every bundle, and every part of one, that is not among the `wanted` digests."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if path.name.partition(".")[0] not in wanted:
                    path.unlink(missing_ok=True)

    def _path(self, sha256: str, ending: str) -> Path:
        return self.directory / f"{sha256}.{ending}"

    def _held(self, sha256: str) -> memoryview | None:
        path = self._path(sha256, "envcheck")
        try:
            if file_digest(path) == sha256:
                return map_file(path)
        except FileNotFoundError:
            return None
        path.unlink()
        return None

    def _fetch(self, offer: ReleaseOffer, link: Link) -> memoryview:
        part, whole = self._path(offer.sha256, "part"), self._path(offer.sha256, "envcheck")
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._need_space(offer, part)
            self._from_anywhere(offer, link, part)
            part.replace(whole)
            sync_directory(self.directory)
            return map_file(whole)
        except OSError as error:
            raise refuse_write("the bundle cache", self.directory, error) from None

    def _need_space(self, offer: ReleaseOffer, part: Path) -> None:
        there = part.stat().st_size if part.exists() else 0
        free = shutil.disk_usage(self.directory).free
        if free < offer.size - there + _RESERVE:
            raise BadInput(
                f"the bundle of {offer.release} needs {offer.size} bytes in {self.directory}, "
                f"where {free} are free",
                "free some space there, or name another directory as state_dir in the configuration",
            )

    def _from_anywhere(self, offer: ReleaseOffer, link: Link, part: Path) -> None:
        """Ask the mirror that the offer names, anonymously, and the collector when that does not help."""
        if offer.url:
            try:
                return self._from_mirror(offer, link.ca_bundle, part)
            except (Unreachable, BadInput) as error:
                self._notice(f"{error.message}; the collector itself is asked instead")
        begun = part.exists()
        try:
            self._verified(offer, link, f"/v1/bundles/{offer.sha256}", part)
        except OtherBytes:
            if not begun:
                raise
            # What was there already, from wherever, was no part of it.
            self._verified(offer, link, f"/v1/bundles/{offer.sha256}", part)

    def _from_mirror(self, offer: ReleaseOffer, ca_bundle: str, part: Path) -> None:
        """Follow a mirror's redirects, each to a link of its own that says nothing of who asks."""
        url = offer.url
        for _ in range(_MOST_HOPS):
            mirror, path = _split(url)
            try:
                return self._verified(offer, Link(mirror, ca_bundle=ca_bundle), path, part)
            except Redirected as elsewhere:
                url = _joined(url, elsewhere.target)
        raise Unreachable(f"the mirror of {offer.release} redirects more than {_MOST_HOPS} times")

    def _verified(self, offer: ReleaseOffer, link: Link, path: str, part: Path) -> None:
        self._download(offer, link, path, part)
        if file_digest(part) != offer.sha256:
            part.unlink()
            raise OtherBytes(
                f"{link.url} gave other bytes for the bundle of {offer.release} than its digest names",
                "they were thrown away; the next report fetches it again",
            )

    def _download(self, offer: ReleaseOffer, link: Link, path: str, part: Path) -> None:
        start = part.stat().st_size if part.exists() else 0
        if start == offer.size:
            return
        if start > offer.size:
            part.unlink()
            start = 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        with link.open("GET", path, headers=headers) as response:
            resumed = _resumes_at(response, start)
            with part.open("ab" if resumed else "wb") as file:
                room = offer.size - (start if resumed else 0)
                deadline = time.monotonic() + _PATIENCE_S + offer.size / _SLOWEST
                while chunk := response.raw.read1(_CHUNK, decode_content=False):
                    room -= len(chunk)
                    if room < 0:
                        file.truncate(0)
                        raise Unreachable(f"the bundle of {offer.release} is larger than was offered")
                    file.write(chunk)
                    if time.monotonic() > deadline:
                        break
        if room:
            raise Unreachable(
                f"the bundle of {offer.release} broke off, {room} bytes before its end",
                "the next report goes on from there",
            )


def _resumes_at(response: Response, start: int) -> bool:
    if response.status_code != 206:
        return False
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise BadInput(f"the mirror redirects to {target[:200]!r}, which is not a URL") from None


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadInput(f"the mirror {url[:200]!r} is not a URL") from None
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + query
