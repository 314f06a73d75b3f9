"""The audit log: a chain of hashes, so that no entry can be changed or taken out unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from envcheck.contract.canonical import canonical_json
from envcheck_server.store import tables
from envcheck_server.store.database import Database
from envcheck_server.store.values import AuditEntry, Deed, entry_hash

_AUDIT = tables.audit
_HEAD = tables.audit_head
_AT_ONCE = 1000


class AuditTable:
    """The table of the audit log, which only grows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, deeds: Sequence[Deed]) -> None:
        """Add entries for `deeds`, in the transaction that this thread has open, if it has one."""
        with self._database.write() as connection:
            append_deeds(connection, deeds)

    def entries(self, after: int = 0) -> Iterator[AuditEntry]:
        """Yield the entries that follow the number `after`, a page at a time."""
        while page := self._page(after):
            yield from page
            after = page[-1].number

    def head(self) -> tuple[int, str]:
        """Return the number and the hash of the last entry, as the log itself remembers them."""
        with self._database.read() as connection:
            row = connection.execute(select(_HEAD.c.number, _HEAD.c.hash)).one()
        return row.number, row.hash

    def _page(self, after: int) -> list[AuditEntry]:
        query = select(_AUDIT).where(_AUDIT.c.number > after).order_by(_AUDIT.c.number).limit(_AT_ONCE)
        with self._database.read() as connection:
            return [_entry_of(row) for row in connection.execute(query)]


def append_deeds(connection: Connection, deeds: Sequence[Deed]) -> None:
    """Add entries. The row of the head is held until the transaction ends: no two entries share a number."""
    if not deeds:
        return
    connection.execute(update(_HEAD).values(number=_HEAD.c.number + len(deeds)))
    number, previous = connection.execute(select(_HEAD.c.number, _HEAD.c.hash)).one()
    rows = []
    for place, deed in enumerate(deeds, number - len(deeds) + 1):
        previous = entry_hash(place, deed, previous)
        details = canonical_json(dict(deed.details)).decode("utf-8")
        fields = {"at": deed.at, "actor": deed.actor, "action": deed.action, "target": deed.target}
        rows.append({"number": place, **fields, "details": details, "hash": previous})
    connection.execute(insert(_AUDIT), rows)
    connection.execute(update(_HEAD).values(hash=previous))


def _entry_of(row: Any) -> AuditEntry:
    deed = Deed(row.at, row.actor, row.action, row.target, json.loads(row.details))
    return AuditEntry(row.number, deed, row.hash)
