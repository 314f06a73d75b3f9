"""Copy a whole store into an empty one, whatever database each is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select

from envcheck.errors import BadInput
from envcheck_server.store import tables
from envcheck_server.store.common import SqlStore
from envcheck_server.store.migrate import newest_revision

# Rows that are held in memory at once; of those with large values only a few.
_ROWS = 2000
_LARGE_ROWS = 8
_LARGE = ("objects", "bundle_pieces")

Progress = Callable[[str, int], None]


def copy_store(source: SqlStore, target: SqlStore, progress: Progress) -> dict[str, int]:
    """Copy every row as of one moment, all or nothing; return how many rows each table has now.

    Raises BadInput when a schema is not the newest, when the target holds anything, or when the counts differ
    in the end. `progress` is told each table and how many rows of it were copied.
    """
    for store in (source, target):
        if store.revision() != newest_revision():
            raise BadInput(f"{store.name} has not the newest schema", "run: envcheck-server migrate")
    with source.reading() as reading, target.writing_alone() as writing:
        _refuse_rows(writing, target.name)
        counts = {}
        for name, table in tables.metadata.tables.items():
            # What a migration put there comes with the copy.
            writing.execute(delete(table))
            counts[name] = _copy_table(reading, writing, table)
            progress(name, counts[name])
        _verify(reading, writing, counts)
    return counts


def _copy_table(reading: Connection, writing: Connection, table: Table) -> int:
    copied = 0
    for rows in _pages(reading, table):
        writing.execute(insert(table), rows)
        copied += len(rows)
    return copied


def _pages(reading: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    size = _LARGE_ROWS if table.name in _LARGE else _ROWS
    query = select(table).order_by(*table.primary_key.columns)
    streamed = reading.execution_options(stream_results=True, max_row_buffer=size, yield_per=size)
    with streamed.execute(query) as result:
        for page in result.mappings().partitions(size):
            yield [dict(row) for row in page]


def _refuse_rows(writing: Connection, name: str) -> None:
    """Refuse a target in which a collector has stored anything."""
    for table in tables.metadata.tables.values():
        if table.name in tables.NEVER_EMPTY:
            continue
        if writing.execute(select(table.primary_key.columns[0]).limit(1)).first() is not None:
            raise BadInput(
                f"{name} is not empty: there are rows in {table.name}", "name an empty database to copy into"
            )


def _verify(reading: Connection, writing: Connection, counts: dict[str, int]) -> None:
    for name, table in tables.metadata.tables.items():
        here, there = (
            connection.scalar(select(func.count()).select_from(table)) for connection in (reading, writing)
        )
        if not here == there == counts[name]:
            raise BadInput(
                f"{name} has {here} rows, and {there} were copied: nothing was kept",
                "stop the collectors that use the target, and copy again",
            )
