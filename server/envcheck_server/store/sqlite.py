"""The embedded store: one SQLite file, WAL, every commit synced to the disk before it is answered."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL

from envcheck.errors import BadInput
from envcheck_server.store import tables
from envcheck_server.store.audit import AuditTable
from envcheck_server.store.database import Database
from envcheck_server.store.devices import DeviceTable
from envcheck_server.store.expected import ExpectedTable, PreauthorisedTable
from envcheck_server.store.fleet import FleetTable
from envcheck_server.store.interface import (
    Audit,
    Devices,
    Expected,
    Fleet,
    Objects,
    Preauthorisations,
    Releases,
    Reports,
    Tokens,
    Waivers,
)
from envcheck_server.store.migrate import current_revision, newest_revision, upgrade
from envcheck_server.store.objects import ObjectTable
from envcheck_server.store.releases import ReleaseTable
from envcheck_server.store.reports import ReportTable
from envcheck_server.store.tokens import TokenTable
from envcheck_server.store.waivers import WaiverTable

_WAIT_S = 10.0
# Connections that are kept; while more threads read, there are more.
_READERS = 4


class SqliteStore:
    """A Store in one file. Several processes may open it; one of them writes at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Beside the database: where there is room for it, and not in memory as /tmp may be.
        self.scratch: Path | None = path.parent
        _make_directory(path)
        self._database = Database(_engine(path, writes=False), _engine(path, writes=True))
        self.tokens: Tokens = TokenTable(self._database)
        self.devices: Devices = DeviceTable(self._database)
        self.reports: Reports = ReportTable(self._database)
        self.objects: Objects = ObjectTable(self._database)
        self.releases: Releases = ReleaseTable(self._database)
        self.fleet: Fleet = FleetTable(self._database)
        self.audit: Audit = AuditTable(self._database)
        self.expected: Expected = ExpectedTable(self._database)
        self.preauthorised: Preauthorisations = PreauthorisedTable(self._database)
        self.waivers: Waivers = WaiverTable(self._database)

    def together(self) -> AbstractContextManager[None]:
        """Make one transaction of everything that this thread reads and writes inside the block."""
        return self._database.together()

    def check(self) -> None:
        """Raise StoreBusy or StoreFull unless the store can be read and written."""
        with self._database.write() as connection:
            # Rewrites what is there: enough to need room in the log, and it changes nothing.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")

    def migrate(self) -> tuple[str, str]:
        """Bring the schema to the newest revision; return the revision before and after."""
        with self._database.write() as connection:
            before = current_revision(connection)
            upgrade(connection)
            return before, current_revision(connection)

    def revision(self) -> str:
        """Return the schema's revision, "" for an empty database."""
        with self._database.read() as connection:
            return current_revision(connection)

    def stats(self) -> dict[str, int]:
        """Return row counts by table, and the size of the database in bytes as `bytes`."""
        with self._database.read() as connection:
            counts = {
                name: connection.scalar(select(func.count()).select_from(table)) or 0
                for name, table in tables.metadata.tables.items()
            }
            return {**counts, "bytes": _size(connection)}

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()


def open_sqlite(path: Path) -> SqliteStore:
    """Open a store whose schema is the newest; raises BadInput when it is not, or the file is none."""
    store = SqliteStore(path)
    try:
        found = store.revision()
    except Exception:
        store.close()
        raise
    if found != newest_revision():
        store.close()
        what = f"has the schema {found}" if found else "holds no collector's data"
        raise BadInput(
            f"the database {path} {what}; this envcheck-server needs {newest_revision()}",
            "run: envcheck-server migrate",
        )
    return store


def _make_directory(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("ab"):
            pass
        path.chmod(path.stat().st_mode & 0o7700)
    except OSError as error:
        raise BadInput(
            f"the database {path} can't be opened: {error.strerror}", "name another with --database"
        ) from None


def _size(connection: Connection) -> int:
    pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def _engine(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=1 if writes else _READERS,
        # The writer reads too: it must never wait until one of many slow questions has been answered.
        max_overflow=0 if writes else -1,
        # What devices and people sent stays out of logs.
        hide_parameters=True,
        connect_args={"timeout": _WAIT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: Any) -> None:
        # Without this the driver begins transactions on its own, and too late.
        connection.isolation_level = None
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise BadInput(f"{path} is not an SQLite database", "name another with --database") from None
            raise
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not writes:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
