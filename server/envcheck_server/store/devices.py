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
    "report",
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
            held = self._held(connection, device)
            facts = EnrolmentFacts(
                token=None if token is None else token_of(token),
                device=held,
                keys=_keys(connection, device),
                holder=_holder(connection, key_id),
                preauthorised=find_preauthorised(connection, key_id),
            )
            plan = decide(facts)
            speaking = plan.device or held
            if plan.write_key and speaking is not None:
                self._write(connection, speaking, [*facts.keys, plan.key])
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
            row = connection.execute(_select_speaking().where(_DEVICES.c.key_id == key_id)).first()
            if row is not None:
                return _speaking_of(row), device_of(row)
            row = connection.execute(select(_KEYS).where(_KEYS.c.key_id == key_id)).first()
            device = None if row is None else _find(connection, row.device)
        return None if row is None or device is None else (_key_of(row), device)

    def public_keys(self, key_ids: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return devices and public keys by the keys' ids, of those that are there."""
        found: dict[str, tuple[str, str]] = {}
        with self._database.read() as connection:
            for table in (_DEVICES, _KEYS):
                query = select(table.c.key_id, table.c.device, table.c.public_key)
                rest = [key_id for key_id in key_ids if key_id not in found]
                rows = connection.execute(query.where(table.c.key_id.in_(rest))) if rest else ()
                found |= {key_id: (device, key) for key_id, device, key in rows}
        return found

    def keys(self, device: str) -> list[Key]:
        """Return every key of a device, oldest epoch first."""
        with self._database.read() as connection:
            return _keys(connection, device)

    def waiting(self, devices: Collection[str]) -> dict[str, list[str]]:
        """Return the ids of the keys that wait for an operator, by device."""
        waiting: list[tuple[str, int, str]] = []
        with self._database.read() as connection:
            for table in (_DEVICES, _KEYS):
                waits = table.c.state == STATES.index("pending")
                these = self._database.among(table.c.device, devices)
                query = select(table.c.device, table.c.epoch, table.c.key_id).where(waits, these)
                waiting += [tuple(row) for row in connection.execute(query)]
        found: dict[str, list[str]] = {}
        for device, _, key_id in sorted(waiting):
            found.setdefault(device, []).append(key_id)
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
            before = _keys(connection, device)
            changed, keys = plan(found, before)
            self._write(connection, changed, [*before, *keys])
        return changed

    def _held(self, connection: Connection, device: str) -> Device | None:
        """Return a device to which no report may come until it was written."""
        query = select_devices().where(_DEVICES.c.device == device)
        row = connection.execute(self._database.held(query, _DEVICES)).first()
        return None if row is None else device_of(row)

    def _write(self, connection: Connection, device: Device, keys: list[Key]) -> None:
        """Write a device and all its keys, that which it speaks with into its row.

        Of two keys with one id the later counts.
        """
        others = {key.key_id: key for key in keys}
        speaking = others.pop(device.key_id)
        values = {name: getattr(device, name) for name in _COLUMNS}
        values |= {"public_key": speaking.public_key, "token": speaking.token}
        values["state"] = STATES.index(device.state)
        values["label_set"] = write_labels(self._database, connection, device.labels)
        changed = connection.execute(update(_DEVICES).where(_DEVICES.c.device == device.device), values)
        if changed.rowcount == 0:
            connection.execute(insert(_DEVICES), {**values, "results": "{}", "readings": "{}"})
        connection.execute(delete(_KEYS).where(_KEYS.c.device == device.device))
        if others:
            connection.execute(insert(_KEYS), [_key_values(key) for key in others.values()])


def write_labels(database: Database, connection: Connection, labels: Mapping[str, str]) -> int:
    """Make sure that this set of labels is stored; return its id, the first 64 bits of its digest."""
    text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
    database.insert_missing(connection, tables.label_sets, [{"id": number, "labels": text}])
    return number


def select_devices() -> Select[Any]:
    """Return the query for device rows with their labels, as `device_of` reads them."""
    columns = [_DEVICES.c[name] for name in (*_COLUMNS, "state")]
    joined = _DEVICES.join(tables.label_sets, tables.label_sets.c.id == _DEVICES.c.label_set)
    return select(*columns, tables.label_sets.c.labels).select_from(joined)


def device_of(row: Any) -> Device:
    """Read a row of `select_devices`."""
    return Device(
        **{name: getattr(row, name) for name in _COLUMNS},
        state=STATES[row.state],
        labels=json.loads(row.labels),
    )


def _find(connection: Connection, device: str) -> Device | None:
    row = connection.execute(select_devices().where(_DEVICES.c.device == device)).first()
    return None if row is None else device_of(row)


def _select_speaking() -> Select[Any]:
    """Return the query for devices with the keys that they speak with, as `_speaking_of` reads them."""
    return select_devices().add_columns(_DEVICES.c.public_key, _DEVICES.c.token)


def _speaking_of(row: Any) -> Key:
    state = STATES[row.state]
    return Key(
        device=row.device,
        key_id=row.key_id,
        public_key=row.public_key,
        state="accepted" if state == "quarantined" else state,
        epoch=row.epoch,
        token=row.token,
        hardware=row.hardware,
    )


def _keys(connection: Connection, device: str) -> list[Key]:
    speaking = connection.execute(_select_speaking().where(_DEVICES.c.device == device))
    others = connection.execute(select(_KEYS).where(_KEYS.c.device == device))
    found = [*map(_speaking_of, speaking), *map(_key_of, others)]
    return sorted(found, key=lambda key: (key.epoch, key.key_id))


def _holder(connection: Connection, key_id: str) -> str | None:
    """Return the device that a key belongs to."""
    for table in (_DEVICES, _KEYS):
        holder = connection.scalar(select(table.c.device).where(table.c.key_id == key_id))
        if holder is not None:
            return str(holder)
    return None


def _key_of(row: Any) -> Key:
    fields = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for a row as a mapping)
    return Key(**{**fields, "state": STATES[row.state]})


def _key_values(key: Key) -> dict[str, Any]:
    return {**{name: getattr(key, name) for name in Key.__struct_fields__}, "state": STATES.index(key.state)}
