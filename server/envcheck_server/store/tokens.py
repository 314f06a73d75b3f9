"""Bearer tokens, stored as hashes."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import insert, select, update

from envcheck_server.store import tables
from envcheck_server.store.database import Database
from envcheck_server.store.values import Token

_TABLE = tables.tokens


class TokenTable:
    """The table of tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: Token) -> None:
        """Store a new token."""
        with self._database.write() as connection:
            connection.execute(insert(_TABLE), {**asdict(token), "labels": json.dumps(token.labels)})

    def find(self, secret_hash: str) -> Token | None:
        """Return the token with this hash."""
        with self._database.read() as connection:
            row = connection.execute(select(_TABLE).where(_TABLE.c.secret_hash == secret_hash)).first()
        return None if row is None else token_of(row)

    def all(self) -> list[Token]:
        """Return every token, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(_TABLE).order_by(_TABLE.c.created_at, _TABLE.c.id))
            return [token_of(row) for row in rows]

    def revoke(self, token: str, now: int) -> bool:
        """Revoke by id; False when there is none."""
        with self._database.write() as connection:
            found = connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == token)).first()
            unrevoked = (_TABLE.c.id == token) & _TABLE.c.revoked_at.is_(None)
            connection.execute(update(_TABLE).where(unrevoked).values(revoked_at=now))
        return found is not None

    def expire(self, token: str, at: int) -> bool:
        """Let a token hold until `at` and no longer; False when there is none of this id."""
        with self._database.write() as connection:
            found = connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == token)).first()
            longer = _TABLE.c.expires_at.is_(None) | (_TABLE.c.expires_at > at)
            connection.execute(update(_TABLE).where(_TABLE.c.id == token, longer).values(expires_at=at))
        return found is not None


def token_of(row: Any) -> Token:
    """Read a row of the table of tokens."""
    fields = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for a row as a mapping)
    return Token(**{**fields, "labels": json.loads(fields["labels"])})
