"""Devices and their keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from envcheck_server.store import tables
from envcheck_server.store.database import Database, repeated
from envcheck_server.store.expected import find_preauthorised
from envcheck_server.store.tables import STATES
from envcheck_server.store.tokens import token_of
from envcheck_server.store.values import Device, EnrolmentFacts, EnrolmentPlan, Key

_DEVICES = tables.devices
_KEYS = tables.device_keys
_TOKENS = tables.tokens

_COLUMNS = (
    "device",
    "key_id",
    "epoch",
    "enrolled_at",
    "hardware",
    "seq",
    "statement",
    "seen_at",
    "received_at",
    "clock_offset",
)


class DeviceTable:
    """The tables of devices and of their keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated
    def enrol(
        self,
        device: str,
        key_id: str,
        secret_hash: str,
        decide: Callable[[EnrolmentFacts], EnrolmentPlan],
    ) -> EnrolmentPlan:
        """Ask `decide` with the facts, and write its plan, in one transaction."""
        with self._database.write() as connection:
            token = connection.execute(select(_TOKENS).where(_TOKENS.c.secret_hash == secret_hash)).first()
            facts = EnrolmentFacts(
                token=None if token is None else token_of(token),
                device=self._held(connection, device),
                keys=_keys(connection, device),
                holder=connection.scalar(select(_KEYS.c.device).where(_KEYS.c.key_id == key_id)),
                preauthorised=find_preauthorised(connection, key_id),
            )
            plan = decide(facts)
            if plan.write_key:
                _replace_key(connection, plan.key)
            if plan.device is not None:
                self._write(connection, plan.device)
            if plan.use_token and facts.token is not None:
                used = update(_TOKENS).where(_TOKENS.c.id == facts.token.id).values(used=_TOKENS.c.used + 1)
                connection.execute(used)
        return plan

    def find(self, device: str) -> Device | None:
        """Return a device by its id."""
        with self._database.read() as connection:
            return _find(connection, device)

    def find_by_key(self, key_id: str) -> tuple[Key, Device] | None:
        """Return the key of this id and the device it belongs to."""
        with self._database.read() as connection:
            row = connection.execute(select(_KEYS).where(_KEYS.c.key_id == key_id)).first()
            if row is None:
                return None
            device = _find(connection, row.device)
        return None if device is None else (_key_of(row), device)

    def public_keys(self, key_ids: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return devices and public keys by the keys' ids, of those that are there."""
        columns = (_KEYS.c.key_id, _KEYS.c.device, _KEYS.c.public_key)
        query = select(*columns).where(_KEYS.c.key_id.in_(key_ids))
        with self._database.read() as connection:
            return {key_id: (device, key) for key_id, device, key in connection.execute(query)}

    def keys(self, device: str) -> list[Key]:
        """Return every key of a device, oldest epoch first."""
        with self._database.read() as connection:
            return _keys(connection, device)

    def waiting(self, devices: Collection[str]) -> dict[str, list[str]]:
        """Return the ids of the keys that wait for an operator, by device."""
        query = (
            select(_KEYS.c.device, _KEYS.c.key_id)
            .where(_KEYS.c.state == STATES.index("pending"), self._database.among(_KEYS.c.device, devices))
            .order_by(_KEYS.c.device, _KEYS.c.epoch, _KEYS.c.key_id)
        )
        found: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.device, []).append(row.key_id)
        return found

    @repeated
    def change(
        self, device: str, plan: Callable[[Device, list[Key]], tuple[Device, list[Key]]]
    ) -> Device | None:
        """Replace a device and its keys by what `plan` makes of them; None when there is no such device."""
        with self._database.write() as connection:
            found = self._held(connection, device)
            if found is None:
                return None
            changed, keys = plan(found, _keys(connection, device))
            self._write(connection, changed)
            for key in keys:
                _replace_key(connection, key)
        return changed

    def _held(self, connection: Connection, device: str) -> Device | None:
        """Return a device to which no report may come until it was written."""
        query = select_devices().where(_DEVICES.c.device == device)
        row = connection.execute(self._database.held(query, _DEVICES)).first()
        return None if row is None else device_of(row)

    def _write(self, connection: Connection, device: Device) -> None:
        values = {name: getattr(device, name) for name in _COLUMNS}
        values["state"] = STATES.index(device.state)
        values["report"] = bytes.fromhex(device.report)
        values["label_set"] = write_labels(self._database, connection, device.labels)
        changed = connection.execute(update(_DEVICES).where(_DEVICES.c.device == device.device), values)
        if changed.rowcount == 0:
            connection.execute(insert(_DEVICES), {**values, "results": "{}", "readings": "{}"})


def write_labels(database: Database, connection: Connection, labels: Mapping[str, str]) -> int:
    """Make sure that this set of labels is stored; return its id, the first 64 bits of its digest."""
    text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
    database.insert_missing(connection, tables.label_sets, [{"id": number, "labels": text}])
    return number


def select_devices() -> Select[Any]:
    """Return the query for device rows with their labels, as `device_of` reads them."""
    columns = [_DEVICES.c[name] for name in (*_COLUMNS, "state", "report")]
    joined = _DEVICES.join(tables.label_sets, tables.label_sets.c.id == _DEVICES.c.label_set)
    return select(*columns, tables.label_sets.c.labels).select_from(joined)


def device_of(row: Any) -> Device:
    """Read a row of `select_devices`."""
    return Device(
        **{name: getattr(row, name) for name in _COLUMNS},
        state=STATES[row.state],
        report=row.report.hex(),
        labels=json.loads(row.labels),
    )


def _find(connection: Connection, device: str) -> Device | None:
    row = connection.execute(select_devices().where(_DEVICES.c.device == device)).first()
    return None if row is None else device_of(row)


def _keys(connection: Connection, device: str) -> list[Key]:
    query = select(_KEYS).where(_KEYS.c.device == device).order_by(_KEYS.c.epoch, _KEYS.c.key_id)
    return [_key_of(row) for row in connection.execute(query)]


def _key_of(row: Any) -> Key:
    fields = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for a row as a mapping)
    return Key(**{**fields, "state": STATES[row.state], "labels": json.loads(row.labels)})


def _replace_key(connection: Connection, key: Key) -> None:
    same = (_KEYS.c.device == key.device) & (_KEYS.c.key_id == key.key_id)
    connection.execute(delete(_KEYS).where(same))
    values = {name: getattr(key, name) for name in Key.__slots__}
    values["state"] = STATES.index(key.state)
    connection.execute(insert(_KEYS), {**values, "labels": json.dumps(key.labels)})
