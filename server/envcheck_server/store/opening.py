"""Which kind of store a database's name means."""

from __future__ import annotations

from pathlib import Path

from envcheck_server.store.common import SqlStore
from envcheck_server.store.postgres import connect_postgres, open_postgres
from envcheck_server.store.sqlite import SqliteStore, open_sqlite


def connect_store(place: Path | str) -> SqlStore:
    """Open the SQLite file, or the PostgreSQL of this URL, whatever its schema is."""
    return connect_postgres(place) if isinstance(place, str) else SqliteStore(place)


def open_store(place: Path | str) -> SqlStore:
    """Open a store whose schema is the newest; raises BadInput when it is not."""
    return open_postgres(place) if isinstance(place, str) else open_sqlite(place)
