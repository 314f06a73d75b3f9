"""Objects: exact bytes under their digest, and only kinds that a report refers to."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from envcheck.contract.canonical import MAX_DEPTH, digest
from envcheck.contract.document import Document, decode_any
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SectionDigests, SharedSection
from envcheck.contract.wire import ObjectAnswer
from envcheck.errors import BadInput
from envcheck_server.service.errors import TooLarge
from envcheck_server.service.leases import Leases
from envcheck_server.service.reports import is_digest
from envcheck_server.service.times import Clock
from envcheck_server.store.interface import Store

# What may be stored, and the name of its kind in the store.
KINDS: dict[type[Document], str] = {
    SharedSection: "section",
    SectionDigests: "fingerprint",
    Evidence: "evidence",
}
_MOST_SECTIONS = 64


class ObjectService:
    """Takes objects in."""

    def __init__(
        self, store: Store, clock: Clock, leases: Leases, largest: int, taken: Callable[[int], None]
    ) -> None:
        self._taken = taken
        self._store = store
        self._clock = clock
        self._leases = leases
        self._largest = largest

    def put(self, device: str, name: str, body: bytes, *, gzipped: bool) -> ObjectAnswer:
        """Store an object; the answer names objects that it refers to and that are missing.

        Of those, only the ones that `device` is asked for.

        Raises TooLarge or BadInput. Nothing is parsed before the digest was found right.
        """
        data = gunzip(body, self._largest) if gzipped else body
        if len(data) > self._largest:
            raise TooLarge(f"an object has at most {self._largest} bytes")
        if digest(data) != name:
            raise BadInput("the object's bytes do not have the digest that they are sent under")
        document = decode_any(data, tuple(KINDS), "the object")
        if isinstance(document, SharedSection):
            _check_depth(document.facts)
        refers = _references(document)
        self._store.objects.put(name, KINDS[type(document)], data, refers, self._clock())
        self._taken(len(data))
        absent = self._store.objects.absent([name])
        return ObjectAnswer(stored=name, missing=self._leases.grant(device, absent))


def gunzip(body: bytes, largest: int) -> bytes:
    """Decompress a body of one gzip member; raises TooLarge once it exceeds `largest`, BadInput if broken."""
    stream = zlib.decompressobj(wbits=31)
    try:
        data = stream.decompress(body, largest + 1)
    except zlib.error:
        raise BadInput("the body is not gzip, though Content-Encoding says so") from None
    if len(data) > largest:
        raise TooLarge(f"the body has more than {largest} bytes once decompressed")
    if not stream.eof or stream.unused_data:
        raise BadInput("the body's gzip is cut off, or something follows it")
    return data


def _references(document: Document) -> list[str]:
    if not isinstance(document, SectionDigests):
        return []
    if len(document.sections) > _MOST_SECTIONS:
        raise BadInput(f"sections: more than {_MOST_SECTIONS}")
    for name, target in document.sections.items():
        if not is_digest(target):
            raise BadInput(f"sections.{name[:80]}: {target[:80]!r} is not a SHA-256 in hexadecimal")
    return list(document.sections.values())


def _check_depth(facts: Any) -> None:
    """Refuse what would exhaust the stack of whoever walks it; raises BadInput."""
    level: list[Any] = [facts]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise BadInput(f"facts: nested deeper than {MAX_DEPTH} levels")
