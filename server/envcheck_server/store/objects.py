"""Objects: immutable bytes by their digest, and which of them refer to which."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from envcheck_server.store import tables
from envcheck_server.store.database import Database, repeated

_OBJECTS = tables.objects
_LINKS = tables.object_links


class ObjectTable:
    """The table of objects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated
    def put(self, digest: str, kind: str, data: bytes, refers: Collection[str], now: int) -> None:
        """Store, with the digests of the objects that it refers to; storing again changes nothing."""
        with self._database.write(concurrent=True) as connection:
            row = {"digest": digest, "kind": kind, "data": data, "stored_at": now}
            self._database.insert_missing(connection, _OBJECTS, [row])
            links = [{"digest": digest, "target": target} for target in sorted(set(refers))]
            self._database.insert_missing(connection, _LINKS, links)

    def get(self, digests: Collection[str], kind: str) -> dict[str, bytes]:
        """Return those that are there and of this kind."""
        query = select(_OBJECTS.c.digest, _OBJECTS.c.data).where(_OBJECTS.c.kind == kind)
        with self._database.read() as connection:
            rows = connection.execute(query.where(self._database.among(_OBJECTS.c.digest, digests)))
            return {row.digest: row.data for row in rows}

    def absent(self, digests: Collection[str]) -> list[str]:
        """Return those that are not there, and those that the ones that are there refer to; sorted."""
        with self._database.read() as connection:
            return absent_objects(self._database, connection, digests)


def absent_objects(database: Database, connection: Connection, digests: Collection[str]) -> list[str]:
    """Return which of `digests`, and of the objects that they refer to, are not there."""
    links = select(_LINKS.c.target).where(database.among(_LINKS.c.digest, digests))
    wanted = {*digests, *connection.scalars(links)}
    present = select(_OBJECTS.c.digest).where(database.among(_OBJECTS.c.digest, wanted))
    return sorted(wanted.difference(connection.scalars(present)))
