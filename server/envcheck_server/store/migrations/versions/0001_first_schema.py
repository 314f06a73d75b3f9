"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None


_TABLES = (
    "tokens",
    "label_sets",
    "devices",
    "device_keys",
    "changes",
    "statements",
    "objects",
    "object_links",
    "bundles",
    "bundle_pieces",
    "releases",
    "revisions",
    "findings",
)


def upgrade() -> None:
    """Create every table."""
    _tokens()
    _label_sets()
    _devices()
    _device_keys()
    _changes()
    _statements()
    _objects()
    _object_links()
    _bundles()
    _bundle_pieces()
    _releases()
    _revisions()
    _findings()


def downgrade() -> None:
    """Drop every table."""
    for name in _TABLES:
        op.drop_table(name)


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("secret_hash", sa.String, nullable=False, unique=True),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("labels", sa.String, nullable=False),
        sa.Column("uses", sa.Integer),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )


def _label_sets() -> None:
    op.create_table(
        "label_sets",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("labels", sa.String, nullable=False),
    )


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("label_set", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
        sa.Column("statement", sa.BigInteger),
        sa.Column("seen_at", sa.BigInteger),
        sa.Column("received_at", sa.BigInteger),
        sa.Column("clock_offset", sa.BigInteger, nullable=False),
        sa.Column("enrolled_at", sa.BigInteger, nullable=False),
        sa.Column("hardware", sa.String, nullable=False),
        sa.Column("results", sa.String, nullable=False),
        sa.Column("readings", sa.String, nullable=False),
    )
    op.create_index("devices_label_set", "devices", ["label_set"])
    op.create_index("devices_statement", "devices", ["statement"])


def _device_keys() -> None:
    op.create_table(
        "device_keys",
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("public_key", sa.String, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("hardware", sa.String, nullable=False),
        sa.Column("labels", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("device_keys_key_id", "device_keys", ["key_id"])


def _changes() -> None:
    op.create_table(
        "changes",
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("statement", sa.BigInteger, nullable=False),
    )


def _statements() -> None:
    op.create_table(
        "statements",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("evidence", sa.String, nullable=False),
    )


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
    )


def _object_links() -> None:
    op.create_table(
        "object_links",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("target", sa.String, primary_key=True),
    )


def _bundles() -> None:
    op.create_table(
        "bundles",
        sa.Column("sha256", sa.String, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("release", sa.String, nullable=False),
        sa.Column("signer", sa.String, nullable=False),
        sa.Column("baseline", sa.LargeBinary, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
    )


def _bundle_pieces() -> None:
    op.create_table(
        "bundle_pieces",
        sa.Column("sha256", sa.String, primary_key=True),
        sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _releases() -> None:
    op.create_table(
        "releases",
        sa.Column("release", sa.String, primary_key=True),
        sa.Column("bundle", sa.String, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("release", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("policy", sa.LargeBinary, nullable=False),
        sa.Column("policy_digest", sa.String, nullable=False),
        sa.Column("selector", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _findings() -> None:
    op.create_table(
        "findings",
        sa.Column("bundle", sa.String, primary_key=True),
        sa.Column("policy", sa.String, primary_key=True),
        sa.Column("judge_version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.String, primary_key=True),
        sa.Column("evidence", sa.String, primary_key=True),
        sa.Column("findings", sa.LargeBinary, nullable=False),
        sa.Column("judged_at", sa.BigInteger, nullable=False),
    )
