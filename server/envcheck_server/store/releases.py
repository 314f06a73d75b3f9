"""Bundles in pieces, releases with their revisions, and findings that were judged before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import asdict, astuple
from sqlalchemy import Connection, Select, insert, select, tuple_, update

from envcheck_server.store import tables
from envcheck_server.store.database import Database, repeated
from envcheck_server.store.values import Bundle, FindingsKey, Release

_BUNDLES = tables.bundles
_PIECES = tables.bundle_pieces
_RELEASES = tables.releases
_REVISIONS = tables.revisions
_FINDINGS = tables.findings

PIECE = 1024 * 1024
_HEAD = ("release", "bundle", "revision", "created_at", "retired_at", "mirror")
_REVISION = ("release", "revision", "policy", "policy_digest", "selector", "created_at")


class ReleaseTable:
    """The tables of bundles, releases and findings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated
    def put_bundle(self, bundle: Bundle, data: bytes | memoryview, now: int) -> None:
        """Store a bundle; storing again changes nothing."""
        with self._database.write(concurrent=True) as connection:
            self._database.insert_missing(connection, _BUNDLES, [{**asdict(bundle), "stored_at": now}])
            for number, start in enumerate(range(0, len(data), PIECE)):
                piece = {"sha256": bundle.sha256, "piece": number, "data": bytes(data[start : start + PIECE])}
                self._database.insert_missing(connection, _PIECES, [piece])

    def bundle(self, sha256: str) -> Bundle | None:
        """Return what is known of a bundle."""
        columns = [_BUNDLES.c[name] for name in Bundle.__struct_fields__]
        with self._database.read() as connection:
            row = connection.execute(select(*columns).where(_BUNDLES.c.sha256 == sha256)).first()
        return None if row is None else Bundle(*row)

    def read_bundle(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`, a piece at a time."""
        while start < stop:
            number, offset = divmod(start, PIECE)
            query = select(_PIECES.c.data).where(_PIECES.c.sha256 == sha256, _PIECES.c.piece == number)
            with self._database.read() as connection:
                data = connection.scalar(query)
            if data is None:
                raise LookupError(f"bundle {sha256} ends before {stop}")
            part = data[offset : offset + stop - start]
            start += len(part)
            yield part

    @repeated
    def put(self, release: Release, plan: Callable[[Release | None], Release | None]) -> Release:
        """Give `plan` the current revision; write what it returns (None: nothing); return what holds then."""
        with self._database.write() as connection:
            current = _find(connection, release.release)
            planned = plan(current)
            if planned is not None:
                self._write(connection, planned)
            return planned or current or release

    def find(self, release: str) -> Release | None:
        """Return a release in its current revision."""
        with self._database.read() as connection:
            return _find(connection, release)

    def all(self) -> list[Release]:
        """Return every release in its current revision, retired ones too, newest release first."""
        with self._database.read() as connection:
            return all_releases(connection)

    def findings(self, keys: Collection[FindingsKey]) -> dict[FindingsKey, bytes]:
        """Return what was judged before."""
        columns = [_FINDINGS.c[name] for name in FindingsKey.__struct_fields__]
        found: dict[FindingsKey, bytes] = {}
        wanted = [astuple(key) for key in keys]
        with self._database.read() as connection:
            for start in range(0, len(wanted), 500):
                these = tuple_(*columns).in_(wanted[start : start + 500])
                for row in connection.execute(select(*columns, _FINDINGS.c.findings).where(these)):
                    found[FindingsKey(*row[:-1])] = row.findings
        return found

    @repeated
    def put_findings(self, findings: Mapping[FindingsKey, bytes], now: int) -> None:
        """Keep what was judged."""
        rows = [{**asdict(key), "findings": data, "judged_at": now} for key, data in findings.items()]
        # In one order always: two collectors that judge the same do not wait for each other in a circle.
        rows.sort(key=lambda row: (row["fingerprint"], row["evidence"]))
        with self._database.write(concurrent=True) as connection:
            self._database.insert_missing(connection, _FINDINGS, rows)

    def _write(self, connection: Connection, release: Release) -> None:
        head = {name: getattr(release, name) for name in _HEAD}
        this = update(_RELEASES).where(_RELEASES.c.release == release.release)
        changes = {name: head[name] for name in ("revision", "retired_at", "mirror")}
        if connection.execute(this.values(changes)).rowcount == 0:
            connection.execute(insert(_RELEASES), head)
        row = {name: getattr(release, name) for name in _REVISION}
        self._database.insert_missing(connection, _REVISIONS, [row])


def all_releases(connection: Connection, *, retired: bool = True) -> list[Release]:
    """Return every release in its current revision, newest first, the retired ones as asked."""
    query = _current().order_by(_RELEASES.c.created_at.desc(), _RELEASES.c.release)
    if not retired:
        query = query.where(_RELEASES.c.retired_at.is_(None))
    return [Release(*row) for row in connection.execute(query)]


def _current() -> Select[Any]:
    same = (_REVISIONS.c.release == _RELEASES.c.release) & (_REVISIONS.c.revision == _RELEASES.c.revision)
    return select(
        _RELEASES.c.release,
        _RELEASES.c.bundle,
        _BUNDLES.c.size,
        _RELEASES.c.revision,
        _REVISIONS.c.policy,
        _REVISIONS.c.policy_digest,
        _REVISIONS.c.selector,
        _RELEASES.c.created_at,
        _RELEASES.c.retired_at,
        _RELEASES.c.mirror,
    ).select_from(_RELEASES.join(_REVISIONS, same).join(_BUNDLES, _BUNDLES.c.sha256 == _RELEASES.c.bundle))


def _find(connection: Connection, release: str) -> Release | None:
    row = connection.execute(_current().where(_RELEASES.c.release == release)).first()
    return None if row is None else Release(*row)
