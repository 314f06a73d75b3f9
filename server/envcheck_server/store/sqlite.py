"""The embedded store: one SQLite file, WAL, every commit synced to the disk before it is answered."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    create_engine,
    event,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from envcheck.errors import BadInput
from envcheck_server.store.common import SqlStore, check_revision
from envcheck_server.store.database import Database
from envcheck_server.store.interface import StoreBusy, StoreFull

_WAIT_S = 10.0
# Connections that are kept; while more threads read, there are more.
_READERS = 4

_ROWS = """
    SELECT d.device, d.state, l.labels, d.key_id, d.epoch, d.enrolled_at, d.hardware, d.seq, d.report,
           d.statement, d.seen_at, d.received_at, d.clock_offset
    FROM devices d JOIN label_sets l ON l.id = d.label_set
    WHERE d.device IN (SELECT value FROM json_each(?))
"""
_UPDATE = """
    UPDATE devices SET state = ?, seq = ?, report = ?, statement = ?, seen_at = ?, received_at = ?,
           clock_offset = ?, hardware = ?, results = coalesce(?, results), readings = coalesce(?, readings)
    WHERE device = ?
"""
_CHANGE = "INSERT INTO changes (device, epoch, seq, at, statement) VALUES (?, ?, ?, ?, ?)"


class SqliteHot:
    """The hot statements; the one writer excludes all others by itself."""

    def rows(self, connection: Connection, devices: Sequence[str]) -> list[Sequence[Any]]:
        """Return the devices' rows."""
        return list(connection.exec_driver_sql(_ROWS, (json.dumps(devices),)))

    def update(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write what reports change of devices."""
        connection.exec_driver_sql(_UPDATE, [(*row[1:], row[0]) for row in rows])

    def change(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add to the history."""
        connection.exec_driver_sql(_CHANGE, list(rows))


class SqliteDatabase(Database):
    """An SQLite file in WAL mode: any number of readers beside the one writer."""

    hot = SqliteHot()
    sorts_groups = True

    def __init__(self, path: Path) -> None:
        super().__init__(_engine(path, writes=False), _engine(path, writes=True))
        self._writing = threading.Lock()

    def insert_missing(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows, leaving alone those whose primary key is there already."""
        if rows:
            connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)

    def among(
        self, column: ColumnElement[Any], values: Collection[int] | Collection[str]
    ) -> ColumnElement[bool]:
        """Return `column IN values` for any number of values."""
        value = func.json_each(json.dumps(list(values))).table_valued("value").c.value
        return column.in_(select(value))

    def number_at(self, column: ColumnElement[Any], name: str, place: int) -> ColumnElement[Any]:
        """Return the number at a place in the list of this name in a column of JSON; NULL without it."""
        if not name.isalnum():
            raise ValueError(name)
        # Not a parameter: a path that stands in the statement is read once, not for every row.
        return func.json_extract(column, literal_column(f"""'$."{name}"[{place}]'"""))

    def held(self, query: Select[Any], table: Table) -> Select[Any]:
        """Return the query as it is: whoever writes is alone."""
        return query

    def need_room(self, connection: Connection) -> None:
        """Do nothing: what is written goes to the disk."""

    def size(self, connection: Connection) -> int:
        """Return how many bytes the database has on the disk."""
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())

    def sizes(self, connection: Connection) -> dict[str, int]:
        """Return bytes on the disk by table; empty where SQLite was built without such a count."""
        built = connection.exec_driver_sql("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')")
        if not built.scalar():
            return {}
        rows = connection.exec_driver_sql(
            "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m ON m.name = s.name"
            " WHERE s.aggregate = TRUE GROUP BY m.tbl_name"
        )
        return {name: int(size) for name, size in rows}

    @contextmanager
    def _begin(self, *, concurrent: bool, alone: bool) -> Iterator[Connection]:
        with self._writing, self.writer.begin() as connection:
            yield connection

    def _explain(self, error: DBAPIError) -> Exception | None:
        reason = str(error.orig)
        if any(sign in reason for sign in ("full", "disk I/O error", "readonly")):
            return StoreFull("the collector's disk is full or failing", "make room on it")
        if "locked" in reason or "busy" in reason or "unable to open" in reason:
            return StoreBusy("the collector's database is not available", "try again")
        return None


class SqliteStore(SqlStore):
    """A Store in one file. Several processes may open it; one of them writes at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _make_directory(path)
        # Uploads lie beside the database: where there is room for them, and not in memory as /tmp may be.
        super().__init__(SqliteDatabase(path), f"the database {path}", path.parent)


def backup_sqlite(path: Path, target: Path) -> int:
    """Copy the file as of one moment, beside a collector that writes; return the bytes of the copy.

    The copy appears whole or not at all. Raises BadInput when the target is there already, or can't be
    written.
    """
    if target.exists():
        raise BadInput(f"{target} is there already", "name another file: a backup overwrites nothing")
    open_sqlite(path).close()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.touch(mode=0o600, exist_ok=False)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
            # One file that stands alone, not one that waits for its log.
            copy.execute("PRAGMA journal_mode = DELETE")
        _sync(temporary)
        # Unlike a rename, this never takes the place of a file that came meanwhile.
        os.link(temporary, target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise BadInput(f"{target} can't be written: {error}", "name a file where there is room") from None
    finally:
        temporary.unlink(missing_ok=True)
    return target.stat().st_size


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def open_sqlite(path: Path) -> SqliteStore:
    """Open a store whose schema is the newest; raises BadInput when it is not, or the file is none."""
    store = SqliteStore(path)
    check_revision(store)
    return store


def _make_directory(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never a file that is in use: closing it would drop all locks that this process has on it.
        if not path.exists():
            path.touch(0o600)
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        path.chmod(path.stat().st_mode & 0o7700)
    except OSError as error:
        raise BadInput(
            f"the database {path} can't be opened: {error.strerror}", "name another with --database"
        ) from None


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
