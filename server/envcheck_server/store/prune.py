"""Forget what is old and what nothing refers to, beside collectors that store reports meanwhile.

A report is stored, and an object is uploaded, either wholly before a step of this or wholly after it: in
SQLite because one writes at a time, in PostgreSQL because each step is alone. What was committed before is
seen and kept; whoever comes after finds the object missing and is told so. What a process remembers to be
complete it forgets when the number of prunings changes, which it reads in the transaction that stores.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, delete, exists, select, update

from envcheck_server.store import tables
from envcheck_server.store.database import Database
from envcheck_server.store.reports import USED_TO_S
from envcheck_server.store.values import Pruned

_CHANGES = tables.changes
_DEVICES = tables.devices
_FINDINGS = tables.findings
_LABELS = tables.label_sets
_LINKS = tables.object_links
_OBJECTS = tables.objects
_PRUNINGS = tables.prunings
_STATEMENTS = tables.statements

# How much is taken away in one step, while nobody else writes.
_STEP = 500
_CHANGES_STEP = 2000


class Pruner:
    """Prunes one database in small steps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prune(self, history_before: int, evidence_before: int) -> Pruned:
        """Remove history from before one time, and what nothing refers to and is from before another.

        Every device keeps the change that brought its present statement. Evidence that only history refers to
        goes once it is old; sections and fingerprints go with the last statement that refers to them.
        """
        return Pruned(
            changes=self._changes(history_before),
            statements=self._sweep(_STATEMENTS.c.id, lambda connection: _unused(connection, history_before)),
            objects=self._sweep(
                _OBJECTS.c.digest, lambda connection: self._garbage(connection, evidence_before)
            ),
            findings=self._findings(evidence_before),
            label_sets=self._sweep(_LABELS.c.id, _unworn),
        )

    def _changes(self, before: int) -> int:
        present = exists().where(
            _DEVICES.c.device == _CHANGES.c.device, _DEVICES.c.statement == _CHANGES.c.statement
        )
        old = (_CHANGES.c.at < before) & ~present
        removed, after = 0, ""
        while True:
            with self._database.read() as connection:
                page = select(_CHANGES.c.device).where(_CHANGES.c.device > after, old).distinct()
                devices = list(connection.scalars(page.order_by(_CHANGES.c.device).limit(_CHANGES_STEP)))
            if not devices:
                return removed
            with self._database.write(concurrent=True) as connection:
                these = self._database.among(_CHANGES.c.device, devices)
                removed += connection.execute(delete(_CHANGES).where(these, old)).rowcount
            after = devices[-1]

    def _sweep(self, column: Column[Any], find: Callable[[Connection], set[Any]]) -> int:
        """Remove the rows whose keys `find` returns. Each step asks it again, while nobody else writes."""
        with self._database.read() as connection:
            keys = iter(sorted(find(connection)))
        removed = 0
        while some := set(islice(keys, _STEP)):
            with self._database.write(alone=True) as connection:
                still = find(connection) & some
                connection.execute(update(_PRUNINGS).values(number=_PRUNINGS.c.number + 1))
                gone = delete(column.table).where(self._database.among(column, still))
                removed += connection.execute(gone).rowcount
                if column.table is _OBJECTS:
                    connection.execute(delete(_LINKS).where(self._database.among(_LINKS.c.digest, still)))
        return removed

    def _garbage(self, connection: Connection, before: int) -> set[str]:
        """Return the objects from before `before` that no statement needs."""
        old = set(connection.scalars(select(_OBJECTS.c.digest).where(_OBJECTS.c.stored_at < before)))
        return old - self._needed(connection) if old else old

    def _needed(self, connection: Connection) -> set[str]:
        made = set(connection.scalars(select(_DEVICES.c.statement).distinct()))
        needed: set[str] = set()
        query = select(_STATEMENTS.c.id, _STATEMENTS.c.fingerprint, _STATEMENTS.c.evidence)
        for number, fingerprint, evidence in connection.execute(query):
            needed.add(fingerprint)
            if number in made:
                needed.update(json.loads(evidence).values())
        links = select(_LINKS.c.target).where(self._database.among(_LINKS.c.digest, needed))
        return needed.union(connection.scalars(links))

    def _findings(self, before: int) -> int:
        """Remove findings about what is gone: they are judged again if it comes back."""
        known = exists().where(_OBJECTS.c.digest == _FINDINGS.c.fingerprint)
        gone = delete(_FINDINGS).where(_FINDINGS.c.judged_at < before, ~known)
        with self._database.write(concurrent=True) as connection:
            return connection.execute(gone).rowcount


def _unused(connection: Connection, before: int) -> set[int]:
    """Return the statements that no device makes, and that history has forgotten."""
    made = exists().where(_DEVICES.c.statement == _STATEMENTS.c.id)
    old = _STATEMENTS.c.used_at < before - USED_TO_S
    return set(connection.scalars(select(_STATEMENTS.c.id).where(old, ~made)))


def _unworn(connection: Connection) -> set[int]:
    """Return the sets of labels that no device has."""
    known = set(connection.scalars(select(_LABELS.c.id)))
    return known.difference(connection.scalars(select(_DEVICES.c.label_set).distinct()))
