"""Waivers: exceptions with an end."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, insert, select

from envcheck_server.store import tables
from envcheck_server.store.database import Database
from envcheck_server.store.values import HeldWaiver

_TABLE = tables.waivers


class WaiverTable:
    """The table of waivers, the revoked and expired ones too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def change(self, name: str, plan: Callable[[HeldWaiver | None], HeldWaiver]) -> HeldWaiver:
        """Replace the waiver of this name by what `plan` makes of it, in one transaction."""
        named = _TABLE.c.name == name
        with self._database.write() as connection:
            row = connection.execute(select(_TABLE).where(named)).first()
            planned = plan(None if row is None else HeldWaiver(*row))
            connection.execute(delete(_TABLE).where(named))
            connection.execute(
                insert(_TABLE), {field: getattr(planned, field) for field in HeldWaiver.__struct_fields__}
            )
        return planned

    def all(self) -> list[HeldWaiver]:
        """Return every waiver in the order of their names."""
        with self._database.read() as connection:
            return [HeldWaiver(*row) for row in connection.execute(select(_TABLE).order_by(_TABLE.c.name))]

    def active(self, now: int) -> list[HeldWaiver]:
        """Return those that hold now, in the order of their names."""
        query = select(_TABLE).where(_TABLE.c.revoked_at.is_(None), _TABLE.c.expires_at > now)
        with self._database.read() as connection:
            return [HeldWaiver(*row) for row in connection.execute(query.order_by(_TABLE.c.name))]
