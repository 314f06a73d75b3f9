"""The store of a deployment: PostgreSQL, which several collectors use at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Integer,
    Select,
    Table,
    Text,
    any_,
    cast,
    create_engine,
    event,
    func,
    literal,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from envcheck_server.store.common import SqlStore, check_revision
from envcheck_server.store.database import Database
from envcheck_server.store.postgres_address import Address, check_server, read_address
from envcheck_server.store.postgres_errors import explain

if TYPE_CHECKING:
    import psycopg

_READERS = 4
_WRITERS = 2
# Advisory locks of this database: a class of our own, and one number for each purpose.
_LOCKS = 0x656E7663
_WRITING = 1
_DECIDING = 2

# Of what an operator set, only this is overruled: an answer is given once it is on the disk, and what groups
# a million devices must not sort them for want of a few megabytes.
_SESSION = """
    SELECT set_config('TimeZone', 'UTC', false), set_config('lock_timeout', '10s', false),
           set_config('idle_in_transaction_session_timeout', '60s', false),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""
_READER = """
    SELECT set_config('work_mem', '32MB', false)
    WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('32MB')
"""
_ROWS = """
    SELECT d.device, d.state, l.labels, d.key_id, d.epoch, d.enrolled_at, d.hardware, d.seq, d.report,
           d.statement, d.seen_at, d.received_at, d.clock_offset
    FROM devices d JOIN label_sets l ON l.id = d.label_set
    WHERE d.device = ANY(%s::text[]) ORDER BY d.device FOR UPDATE OF d
"""
_UPDATE = """
    UPDATE devices d SET state = n.state, seq = n.seq, report = n.report, statement = n.statement,
           seen_at = n.seen_at, received_at = n.received_at, clock_offset = n.clock_offset,
           hardware = n.hardware, results = COALESCE(n.results, d.results),
           readings = COALESCE(n.readings, d.readings)
    FROM unnest(%s::text[], %s::smallint[], %s::bigint[], %s::bytea[], %s::bigint[], %s::bigint[],
                %s::bigint[], %s::bigint[], %s::bytea[], %s::text[], %s::text[])
      AS n(device, state, seq, report, statement, seen_at, received_at, clock_offset, hardware, results,
           readings)
    WHERE d.device = n.device
"""
_CHANGE = """
    INSERT INTO changes (device, epoch, seq, at, statement)
    SELECT * FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])
"""

# Takes 4 MiB of the server's disk for a moment and leaves nothing behind. Without room the server says so.
_SPILL = "SELECT count(*) FROM unnest(array_fill(repeat('x', 1000), ARRAY[4096])) AS filling"


class PostgresHot:
    """The hot statements: one for a whole batch, its rows as one array for each column."""

    def rows(self, connection: Connection, devices: Sequence[str]) -> list[Sequence[Any]]:
        """Return the devices' rows, locked in the order of their ids."""
        return list(connection.exec_driver_sql(_ROWS, (list(devices),)))

    def update(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write what reports change of devices."""
        connection.exec_driver_sql(_UPDATE, _columns(rows))

    def change(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add to the history."""
        connection.exec_driver_sql(_CHANGE, _columns(rows))


class PostgresDatabase(Database):
    """A PostgreSQL database. Several processes read and write it at once."""

    hot = PostgresHot()

    def __init__(self, address: Address) -> None:
        super().__init__(_engine(address, writes=False), _engine(address, writes=True))

    def insert_missing(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows, leaving alone those whose primary key is there already."""
        if rows:
            connection.execute(postgresql.insert(table).on_conflict_do_nothing(), rows)

    def among(
        self, column: ColumnElement[Any], values: Collection[int] | Collection[str]
    ) -> ColumnElement[bool]:
        """Return `column IN values` for any number of values."""
        kind = BigInteger() if isinstance(column.type, Integer) else Text()
        return column == any_(literal(list(values), ARRAY(kind)))

    def number_at(self, column: ColumnElement[Any], name: str, place: int) -> ColumnElement[Any]:
        """Return the number at a place in the list of this name in a column of JSON; NULL without it.

        Taken out as text, which is several times as fast: packing.py writes nothing into these lists that
        commas and brackets do not separate.
        """
        behind = func.split_part(column, f'"{name}":[', 2)
        text = func.split_part(func.split_part(behind, "]", 1), ",", place + 1)
        # A list that is too short gives "", a number that is not known is null.
        return cast(func.nullif(func.nullif(text, ""), "null"), Double)

    def held(self, query: Select[Any], table: Table) -> Select[Any]:
        """Return the query so that rows of `table` do not change until the transaction ends."""
        return query.with_for_update(of=table)

    def need_room(self, connection: Connection) -> None:
        """Spill to the disk: the log lies there in advance, and the disk can't be looked at from here."""
        connection.exec_driver_sql("SET LOCAL work_mem = '64kB'")
        connection.exec_driver_sql(_SPILL)

    def size(self, connection: Connection) -> int:
        """Return how many bytes the database has on the disk."""
        found = connection.exec_driver_sql("SELECT pg_database_size(current_database())")
        return int(found.scalar_one())

    def sizes(self, connection: Connection) -> dict[str, int]:
        """Return bytes on the disk by table, its indices among them."""
        rows = connection.exec_driver_sql(
            "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c"
            " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace"
        )
        return {name: int(size) for name, size in rows}

    @contextmanager
    def _begin(self, *, concurrent: bool, alone: bool) -> Iterator[Connection]:
        # Every statement sees what was committed before it: what is read once a lock is held is true.
        with self.writer.begin() as connection:
            _lock(connection, _WRITING, shared=not alone)
            if not (concurrent or alone):
                _lock(connection, _DECIDING, shared=False)
            yield connection

    def _explain(self, error: DBAPIError) -> Exception | None:
        return explain(error)


class PostgresStore(SqlStore):
    """A Store in a PostgreSQL database."""

    def __init__(self, address: Address) -> None:
        super().__init__(PostgresDatabase(address), address.name, None)


def connect_postgres(url: str) -> PostgresStore:
    """Open a store of any schema; raises BadInput, or StoreBusy where no server answers."""
    address = read_address(url)
    check_server(address)
    return PostgresStore(address)


def open_postgres(url: str) -> PostgresStore:
    """Open a store whose schema is the newest; raises BadInput when it is not, as `connect_postgres`."""
    store = connect_postgres(url)
    check_revision(store)
    return store


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


def _lock(connection: Connection, number: int, *, shared: bool) -> None:
    kind = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    connection.exec_driver_sql(f"SELECT {kind}({_LOCKS}, {number})")


def _engine(address: Address, *, writes: bool) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        connect_args=address.parameters,
        isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
        execution_options={} if writes else {"postgresql_readonly": True},
        pool_size=_WRITERS if writes else _READERS,
        # The writer reads too: it must never wait until one of many slow questions has been answered.
        max_overflow=-1,
        # What devices and people sent stays out of logs.
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def connect(connection: psycopg.Connection[Any], _record: Any) -> None:
        connection.execute(_SESSION)
        if not writes:
            connection.execute(_READER)
        connection.commit()

    return engine
