"""The tables, as SQLAlchemy Core sees them; migrations/ creates them.

Keys fit a database that is sharded by device: what grows with the fleet has the device in its primary key,
everything else is small and copied everywhere; nothing takes its key from a sequence, and no foreign key
crosses from the one kind to the other.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table

from envcheck.contract.wire import DeviceState

metadata = MetaData()

# The tables whose rows belong to one device; the others are reference tables.
BY_DEVICE = ("devices", "device_keys", "changes", "expected")

# A device's state as the small integer that its row holds.
STATES: tuple[DeviceState, ...] = ("accepted", "pending", "revoked", "quarantined")

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False, unique=True),
    Column("scope", String, nullable=False),
    Column("name", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("uses", Integer),
    Column("used", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

label_sets = Table(
    "label_sets",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("labels", String, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("device", String, primary_key=True),
    Column("state", SmallInteger, nullable=False),
    Column("label_set", BigInteger, nullable=False),
    Column("key_id", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("statement", BigInteger),
    Column("seen_at", BigInteger),
    Column("received_at", BigInteger),
    Column("clock_offset", BigInteger, nullable=False),
    Column("enrolled_at", BigInteger, nullable=False),
    Column("hardware", String, nullable=False),
    Column("results", String, nullable=False),
    Column("readings", String, nullable=False),
    # No index on the times: they change with every report.
    Index("devices_statement", "statement"),
    Index("devices_label_set", "label_set"),
)

device_keys = Table(
    "device_keys",
    metadata,
    Column("device", String, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("public_key", String, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("token", String, nullable=False),
    Column("hardware", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("device_keys_key_id", "key_id"),
)

changes = Table(
    "changes",
    metadata,
    Column("device", String, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("statement", BigInteger, nullable=False),
)

statements = Table(
    "statements",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("fingerprint", String, nullable=False),
    Column("evidence", String, nullable=False),
)

objects = Table(
    "objects",
    metadata,
    Column("digest", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
)

# What a fingerprint is made of: which objects it refers to.
object_links = Table(
    "object_links",
    metadata,
    Column("digest", String, primary_key=True),
    Column("target", String, primary_key=True),
)

bundles = Table(
    "bundles",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("release", String, nullable=False),
    Column("signer", String, nullable=False),
    Column("baseline", LargeBinary, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
)

bundle_pieces = Table(
    "bundle_pieces",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("piece", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("release", String, primary_key=True),
    Column("bundle", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    Column("mirror", String),
)

revisions = Table(
    "revisions",
    metadata,
    Column("release", String, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("policy", LargeBinary, nullable=False),
    Column("policy_digest", String, nullable=False),
    Column("selector", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("bundle", String, primary_key=True),
    Column("policy", String, primary_key=True),
    Column("judge_version", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", String, primary_key=True),
    Column("evidence", String, primary_key=True),
    Column("findings", LargeBinary, nullable=False),
    Column("judged_at", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("details", String, nullable=False),
    Column("hash", String, nullable=False),
)

# One row: the last entry of the audit log, held while another is written.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)

expected = Table(
    "expected",
    metadata,
    Column("device", String, primary_key=True),
    Column("labels", String, nullable=False),
)

preauthorised = Table(
    "preauthorised",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("public_key", String, nullable=False),
    Column("hardware", String, nullable=False),
    Column("name", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

waivers = Table(
    "waivers",
    metadata,
    Column("name", String, primary_key=True),
    Column("path", String, nullable=False),
    Column("selector", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String, nullable=False),
    Column("revoked_at", BigInteger),
)
