"""The audit log, the inventory of expected and preauthorised devices, waivers, and mirrors of bundles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; the audit log begins empty."""
    op.add_column("releases", sa.Column("mirror", sa.String))
    _audit()
    _expected()
    _preauthorised()
    _waivers()


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("details", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": ""}])


def _expected() -> None:
    op.create_table(
        "expected",
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("labels", sa.String, nullable=False),
    )


def _preauthorised() -> None:
    op.create_table(
        "preauthorised",
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("public_key", sa.String, nullable=False),
        sa.Column("hardware", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("labels", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _waivers() -> None:
    op.create_table(
        "waivers",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("selector", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
