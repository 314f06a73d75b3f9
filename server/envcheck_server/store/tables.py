"""The tables, as SQLAlchemy Core sees them; migrations/ creates them.

Keys fit a database that is sharded by device: what grows with the fleet has the device in its primary key,
everything else is small and copied everywhere; nothing takes its key from a sequence, and no foreign key
crosses from the one kind to the other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
)

from envcheck.contract.wire import DeviceState
from envcheck_server.store.packing import Base64, Hex

metadata = MetaData()

# The tables whose rows belong to one device; the others are reference tables.
BY_DEVICE = ("devices", "device_keys", "changes", "expected")

# Tables that a migration puts a row into.
NEVER_EMPTY = ("audit_head", "prunings")

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

# Ids are compared byte by byte, whatever the database's language is.
_ID = String().with_variant(String(collation="C"), "postgresql")

devices = Table(
    "devices",
    metadata,
    Column("device", _ID, primary_key=True),
    Column("label_set", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("statement", BigInteger),
    Column("seen_at", BigInteger),
    Column("received_at", BigInteger),
    Column("clock_offset", BigInteger, nullable=False),
    Column("enrolled_at", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # The key that it speaks with: its state, epoch and hardware are the device's.
    Column("key_id", Hex, nullable=False),
    Column("public_key", Base64, nullable=False),
    Column("token", Hex, nullable=False),
    Column("report", Hex, nullable=False),
    Column("hardware", Hex, nullable=False),
    # packing.py says how.
    Column("results", String, nullable=False),
    Column("readings", String, nullable=False),
    # None on the times, which change with every report, nor on labels: whoever asks for a cohort reads all.
    Index("devices_statement", "statement"),
    Index("devices_key_id", "key_id", postgresql_using="hash"),
    sqlite_with_rowid=False,
)

# The keys that a device enrolled with and does not speak with: they wait, or are revoked.
device_keys = Table(
    "device_keys",
    metadata,
    Column("device", _ID, primary_key=True),
    Column("key_id", Hex, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("public_key", Base64, nullable=False),
    Column("token", Hex, nullable=False),
    Column("hardware", Hex, nullable=False),
    Index("device_keys_key_id", "key_id"),
    sqlite_with_rowid=False,
)

changes = Table(
    "changes",
    metadata,
    Column("device", _ID, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("statement", BigInteger, nullable=False),
    PrimaryKeyConstraint("device", "epoch", "seq"),
    sqlite_with_rowid=False,
)

statements = Table(
    "statements",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("fingerprint", String, nullable=False),
    Column("evidence", String, nullable=False),
    # When a device last came to state it, to within a day.
    Column("used_at", BigInteger, nullable=False, server_default="0"),
    # The digest of the deployed model, "unreadable", or "" where a device names none.
    Column("model", String, nullable=False, server_default=""),
)

# One row: how often was pruned. Who remembers what is there forgets it when the number changes.
prunings = Table(
    "prunings",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
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
