"""Devices in fewer bytes; when a statement was last used; how often was pruned.

Keys and hardware become bytes, results lose what every device repeats, and tables whose key is half of the
row are kept in its order alone (SQLite; the key comes first, for its integrity check expects that). In
PostgreSQL pages keep room for the next version of a row, and ids are compared byte by byte.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

_AT_ONCE = 2000
_TEXT = b"text:"
_NUMBERS = (
    ("latency", "p50_ms"),
    ("latency", "p90_ms"),
    ("peak_memory_mb",),
    ("throttled",),
    ("latency", "runs"),
    ("latency", "min_ms"),
    ("latency", "mad_ms"),
)


def _id() -> sa.String:
    return sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "devices": [
            sa.Column("device", _id(), primary_key=True),
            sa.Column("label_set", sa.BigInteger, nullable=False),
            sa.Column("seq", sa.BigInteger, nullable=False),
            sa.Column("statement", sa.BigInteger),
            sa.Column("seen_at", sa.BigInteger),
            sa.Column("received_at", sa.BigInteger),
            sa.Column("clock_offset", sa.BigInteger, nullable=False),
            sa.Column("enrolled_at", sa.BigInteger, nullable=False),
            sa.Column("epoch", sa.Integer, nullable=False),
            sa.Column("state", sa.SmallInteger, nullable=False),
            sa.Column("key_id", sa.LargeBinary, nullable=False),
            sa.Column("report", sa.LargeBinary, nullable=False),
            sa.Column("hardware", sa.LargeBinary, nullable=False),
            sa.Column("results", sa.String, nullable=False),
            sa.Column("readings", sa.String, nullable=False),
        ],
        "device_keys": [
            sa.Column("device", _id(), primary_key=True),
            sa.Column("key_id", sa.LargeBinary, primary_key=True),
            sa.Column("created_at", sa.BigInteger, nullable=False),
            sa.Column("epoch", sa.Integer, nullable=False),
            sa.Column("state", sa.SmallInteger, nullable=False),
            sa.Column("public_key", sa.LargeBinary, nullable=False),
            sa.Column("token", sa.LargeBinary, nullable=False),
            sa.Column("hardware", sa.LargeBinary, nullable=False),
            sa.Column("labels", sa.String, nullable=False),
        ],
        "changes": [
            sa.Column("device", _id(), primary_key=True),
            sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("at", sa.BigInteger, nullable=False),
            sa.Column("statement", sa.BigInteger, nullable=False),
        ],
    }


_KEYS = {
    "devices": ("device",),
    "device_keys": ("device", "key_id"),
    "changes": ("device", "epoch", "seq"),
}


def upgrade() -> None:
    """Move the rows into new tables, a few at a time."""
    for name, columns in _columns().items():
        _move(name, columns)
    op.create_index("devices_statement", "devices", ["statement"])
    op.create_index("device_keys_key_id", "device_keys", ["key_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE devices SET (fillfactor = 75)")
    _statements()
    prunings = op.create_table(
        "prunings",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(prunings, [{"id": 1, "number": 0}])


def _move(name: str, columns: list[sa.Column[Any]]) -> None:
    for index in sa.inspect(op.get_bind()).get_indexes(name):
        op.drop_index(str(index["name"]), table_name=name)
    op.rename_table(name, f"{name}_before")
    keys = sa.PrimaryKeyConstraint(*_KEYS[name], name=f"{name}_key")
    plain = [_unkeyed(column) for column in columns]
    made = op.create_table(name, *plain, keys, sqlite_with_rowid=False)
    connection = op.get_bind()
    for rows in _rows(connection, f"{name}_before", _KEYS[name]):
        connection.execute(sa.insert(made), [_compact(row, name) for row in rows])
    op.drop_table(f"{name}_before")


def _unkeyed(column: sa.Column[Any]) -> sa.Column[Any]:
    return sa.Column(column.name, column.type, nullable=bool(column.nullable) and not column.primary_key)


def _rows(connection: sa.Connection, name: str, keys: tuple[str, ...]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in the order of their key, a page at a time."""
    before = sa.Table(name, sa.MetaData(), autoload_with=connection)
    key = sa.tuple_(*(before.c[one] for one in keys))
    query = sa.select(before).order_by(*(before.c[one] for one in keys)).limit(_AT_ONCE)
    after: tuple[Any, ...] | None = None
    while True:
        page = query if after is None else query.where(key > sa.tuple_(*(sa.literal(one) for one in after)))
        rows = [dict(row) for row in connection.execute(page).mappings()]
        if not rows:
            return
        yield rows
        after = tuple(rows[-1][one] for one in keys)


def _compact(row: dict[str, Any], name: str) -> dict[str, Any]:
    packers: dict[str, Callable[[str], object]] = {
        "key_id": _hex,
        "hardware": _hex,
        "token": _hex,
        "public_key": _base64,
    }
    if name == "devices":
        packers["results"] = _results
    return {field: packers[field](value) if field in packers else value for field, value in row.items()}


def _hex(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    return raw if raw.hex() == text and not raw.startswith(_TEXT) else _TEXT + text.encode()


def _base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    same = base64.b64encode(raw).decode("ascii") == text and not raw.startswith(_TEXT)
    return raw if same else _TEXT + text.encode()


def _results(text: str) -> str:
    found: dict[str, Any] = json.loads(text)
    short = [bundle[:16] for bundle in found]
    packed = {
        bundle[:16]: [_moment(result["measured_at"]), *(_number(result, path) for path in _NUMBERS)]
        for bundle, result in found.items()
        if short.count(bundle[:16]) == 1
    }
    return json.dumps(packed, separators=(",", ":"))


def _number(result: dict[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = result
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return int(value) if isinstance(value, bool) else value


def _moment(text: str) -> int | str:
    try:
        seconds = calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return text
    return seconds if time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) == text else text


def _statements() -> None:
    """Say when each was last used: what is pruned is what nobody has had for long."""
    connection = op.get_bind()
    op.add_column("statements", sa.Column("used_at", sa.BigInteger, nullable=False, server_default="0"))
    statements = sa.table("statements", sa.column("id", sa.BigInteger), sa.column("used_at", sa.BigInteger))
    changes = sa.table("changes", sa.column("statement", sa.BigInteger), sa.column("at", sa.BigInteger))
    query = sa.select(changes.c.statement, sa.func.max(changes.c.at)).group_by(changes.c.statement)
    used = [{"number": number, "at": at} for number, at in connection.execute(query)]
    if used:
        this = sa.update(statements).where(statements.c.id == sa.bindparam("number"))
        connection.execute(this.values(used_at=sa.bindparam("at")), used)
