"""The inventory: devices that are expected, and keys that a factory made known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, select

from envcheck_server.store import tables
from envcheck_server.store.database import Database
from envcheck_server.store.tables import STATES
from envcheck_server.store.values import ExpectedDevice, Preauthorised

_EXPECTED = tables.expected
_DEVICES = tables.devices
_PREAUTHORISED = tables.preauthorised
_AT_ONCE = 10_000

Selects = Callable[[Mapping[str, str]], bool]


class ExpectedTable:
    """The table of devices that ought to be there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, devices: Iterable[ExpectedDevice]) -> None:
        """Put this inventory in the place of the one before."""
        rows = ({"device": one.device, "labels": _text(one.labels)} for one in devices)
        with self._database.write() as connection:
            connection.execute(delete(_EXPECTED))
            while some := list(islice(rows, _AT_ONCE)):
                connection.execute(insert(_EXPECTED), some)

    def count(self) -> int:
        """Return how many devices are expected."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(_EXPECTED)) or 0

    def absent(
        self, selects: Selects | None, limit: int, without: Collection[str] = ()
    ) -> tuple[int, list[str]]:
        """Count the expected devices of `selects` (None: all) that are not there; name the first of them."""
        with self._database.read() as connection:
            if connection.execute(select(_EXPECTED.c.device).limit(1)).first() is None:
                return 0, []
            wanted = self._absent(connection, selects, without)
            count = connection.scalar(select(func.count()).select_from(_EXPECTED).where(wanted)) or 0
            first = select(_EXPECTED.c.device).where(wanted).order_by(_EXPECTED.c.device).limit(limit)
            return count, list(connection.scalars(first))

    def _absent(
        self, connection: Connection, selects: Selects | None, without: Collection[str]
    ) -> ColumnElement[bool]:
        there = exists().where(
            _DEVICES.c.device == _EXPECTED.c.device, _DEVICES.c.state != STATES.index("revoked")
        )
        terms = [~there]
        if selects is not None:
            labels = connection.scalars(select(_EXPECTED.c.labels).distinct())
            meant = [text for text in labels if selects(json.loads(text))]
            terms.append(self._database.among(_EXPECTED.c.labels, meant))
        if without:
            terms.append(~self._database.among(_EXPECTED.c.device, without))
        return and_(*terms)


class PreauthorisedTable:
    """The table of keys that need no token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, keys: Collection[Preauthorised]) -> None:
        """Store keys; one that is there already is replaced."""
        with self._database.write() as connection:
            there = self._database.among(_PREAUTHORISED.c.key_id, [one.key_id for one in keys])
            connection.execute(delete(_PREAUTHORISED).where(there))
            rows = [_row(one) for one in keys]
            if rows:
                connection.execute(insert(_PREAUTHORISED), rows)

    def find(self, key_id: str) -> Preauthorised | None:
        """Return what is known of a key beforehand."""
        with self._database.read() as connection:
            return find_preauthorised(connection, key_id)


def find_preauthorised(connection: Connection, key_id: str) -> Preauthorised | None:
    """Return what is known of a key beforehand."""
    row = connection.execute(select(_PREAUTHORISED).where(_PREAUTHORISED.c.key_id == key_id)).first()
    if row is None:
        return None
    fields: dict[str, Any] = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for a row as a mapping)
    return Preauthorised(**{**fields, "labels": json.loads(row.labels)})


def _row(one: Preauthorised) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in Preauthorised.__struct_fields__},
        "labels": _text(one.labels),
    }


def _text(labels: Mapping[str, str]) -> str:
    return json.dumps(labels, sort_keys=True, separators=(",", ":"))
