"""The key that a device speaks with stands in the device's row; `device_keys` holds the others.

Nearly every device has one key, and two rows and three indices said so. What the key's row said beside it was
the device's, or nobody read it. Of a report's digest and of the hardware's id the first 64 bits stay, of the
name of a bundle among one device's results the first 32: they are only compared with others of one device.
In PostgreSQL a twelfth of each page is kept free: two versions of a row, more than a batch writes there.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None

# What is no hexadecimal number is kept as text, marked: packing.py.
_HARDWARE = """
           CASE WHEN substr(d.hardware, 1, 5) = CAST('text:' AS {bytes})
                THEN substr(d.hardware, 1, 21) ELSE substr(d.hardware, 1, 8) END"""
_LONG, _SHORT = r'"([0-9a-f]{8})[0-9a-f]{8}":\[', r'"\1":['
_POSTGRES = {"bytes": "bytea", "results": f"regexp_replace(d.results, '{_LONG}', '{_SHORT}', 'g')"}
_SQLITE = {"bytes": "BLOB", "results": "shorter(d.results)"}
_DEVICES = """
    INSERT INTO devices
    SELECT d.device, d.label_set, d.seq, d.statement, d.seen_at, d.received_at, d.clock_offset, d.enrolled_at,
           d.epoch, d.state, d.key_id, coalesce(k.public_key, substr(d.key_id, 1, 0)),
           coalesce(k.token, substr(d.key_id, 1, 0)), substr(d.report, 1, 8),
           {hardware}, {results}, d.readings
    FROM devices_before d
    LEFT JOIN device_keys_before k ON k.device = d.device AND k.key_id = d.key_id
    ORDER BY d.device
"""
_OTHERS = """
    INSERT INTO device_keys
    SELECT d.device, d.key_id, d.epoch, d.state, d.public_key, d.token, {hardware}
    FROM device_keys_before d JOIN devices_before s ON s.device = d.device
    WHERE d.key_id <> s.key_id
"""


def upgrade() -> None:
    """Move the rows into new tables."""
    connection = op.get_bind()
    for name in ("devices", "device_keys"):
        for index in sa.inspect(connection).get_indexes(name):
            op.drop_index(str(index["name"]), table_name=name)
        op.rename_table(name, f"{name}_before")
    _create()
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE devices SET (fillfactor = 92)")
        words = _POSTGRES
    else:
        driver: Any = connection.connection.driver_connection
        driver.create_function("shorter", 1, lambda text: re.sub(_LONG, _SHORT, text))
        words = _SQLITE
    for move in (_DEVICES, _OTHERS):
        connection.exec_driver_sql(_filled(move, words))
    op.drop_table("devices_before")
    op.drop_table("device_keys_before")
    op.create_index("devices_statement", "devices", ["statement"])
    op.create_index("devices_key_id", "devices", ["key_id"], postgresql_using="hash")
    op.create_index("device_keys_key_id", "device_keys", ["key_id"])


def _filled(statement: str, words: dict[str, str]) -> str:
    for name, text in {"hardware": _HARDWARE, **words}.items():
        statement = statement.replace(f"{{{name}}}", text)
    return statement


def _create() -> None:
    device = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "devices",
        sa.Column("device", device, nullable=False),
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
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
        sa.Column("hardware", sa.LargeBinary, nullable=False),
        sa.Column("results", sa.String, nullable=False),
        sa.Column("readings", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("device", name="devices_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device_keys",
        sa.Column("device", device, nullable=False),
        sa.Column("key_id", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("hardware", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("device", "key_id", name="device_keys_id"),
        sqlite_with_rowid=False,
    )
