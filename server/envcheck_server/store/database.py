"""Connections: a pool that reads, one connection that writes, and the errors of both made plain."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from envcheck_server.store.interface import StoreBusy, StoreFull


class Database:
    """An SQLite file in WAL mode: any number of readers beside the one writer."""

    def __init__(self, reader: Engine, writer: Engine) -> None:
        self.reader = reader
        self.writer = writer
        self._writing = threading.Lock()
        # The transaction that a thread has open for several writes.
        self._joined = threading.local()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction: one snapshot of the database."""
        if (joined := self._connection()) is not None:
            yield joined
            return
        with _plain_errors(), self.reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction, durable once the block is left; rolled back when it raises."""
        if (joined := self._connection()) is not None:
            yield joined
            return
        with _plain_errors(), self._writing, self.writer.begin() as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of everything that this thread reads and writes inside the block."""
        with self.write() as connection:
            before = self._connection()
            self._joined.connection = connection
            try:
                yield
            finally:
                self._joined.connection = before

    def _connection(self) -> Connection | None:
        return getattr(self._joined, "connection", None)

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

    def json_at(self, column: ColumnElement[Any], *path: str) -> ColumnElement[Any]:
        """Return the scalar at `path` in a column of JSON, NULL when it is not there."""
        return func.json_extract(column, "$" + "".join(f'."{step}"' for step in path))

    def close(self) -> None:
        """Let go of every connection."""
        self.reader.dispose()
        self.writer.dispose()


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig)
        if any(sign in reason for sign in ("full", "disk I/O error", "readonly")):
            raise StoreFull("the collector's disk is full or failing", "make room on it") from error
        if "locked" in reason or "busy" in reason or "unable to open" in reason:
            raise StoreBusy("the collector's database is not available", "try again") from error
        raise
