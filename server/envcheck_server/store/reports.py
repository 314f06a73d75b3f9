"""The hot path: a batch of reports in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from envcheck_server.store import tables
from envcheck_server.store.audit import append_deeds
from envcheck_server.store.database import Database
from envcheck_server.store.objects import absent_objects
from envcheck_server.store.releases import all_releases
from envcheck_server.store.tables import STATES
from envcheck_server.store.values import CLONED, Deed, Device, NewReport, Receipt, Received, Statement

_STATEMENTS = tables.statements
_MOST_KNOWN = 100_000

# Written by hand, for they run once for every report of the fleet.
_ROWS = """
    SELECT d.device, d.state, l.labels, d.key_id, d.epoch, d.enrolled_at, d.hardware, d.seq, d.report,
           d.statement, d.seen_at, d.received_at, d.clock_offset
    FROM devices d JOIN label_sets l ON l.id = d.label_set
    WHERE d.device IN (SELECT value FROM json_each(?))
"""
_UPDATE = """
    UPDATE devices SET seq = ?, report = ?, statement = ?, seen_at = ?, received_at = ?, clock_offset = ?,
           hardware = ?, results = ?, readings = ?
    WHERE device = ?
"""
_QUARANTINE = "UPDATE devices SET state = ? WHERE device = ?"
_CHANGE = "INSERT INTO changes (device, epoch, seq, at, statement) VALUES (?, ?, ?, ?, ?)"


class ReportTable:
    """The devices' statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Statements all of whose objects are here. An object that a statement refers to is never removed.
        self._complete: set[int] = set()

    def receive(
        self, batch: Sequence[NewReport], judge: Callable[[Device | None, NewReport], Receipt]
    ) -> list[Received]:
        """Store every report that `judge` calls "stored"; durable when this returns."""
        with self._database.write() as connection:
            rows = _rows(connection, sorted({new.device for new in batch}))
            before = dict(rows)
            receipts: list[tuple[Receipt, Device | None]] = []
            for new in batch:
                row = rows.get(new.device)
                receipt = judge(row, new)
                receipts.append((receipt, row))
                if row is not None:
                    rows[new.device] = _after(row, new, receipt)
            stored = [
                (new, row)
                for new, (receipt, row) in zip(batch, receipts, strict=True)
                if receipt == "stored" and row is not None
            ]
            self._write(connection, stored)
            _quarantine(connection, before, rows, receipts, batch)
            missing = self._missing(connection, [new.statement for new in batch])
            releases = all_releases(connection, retired=False)
        self._learn(missing)
        return [
            Received(receipt, row, missing.get(new.statement.id, []), releases)
            for new, (receipt, row) in zip(batch, receipts, strict=True)
        ]

    def statements(self, ids: Collection[int]) -> dict[int, Statement]:
        """Return statements by id."""
        query = select(_STATEMENTS).where(self._database.among(_STATEMENTS.c.id, ids))
        with self._database.read() as connection:
            found = [_statement_of(row) for row in connection.execute(query)]
        return {statement.id: statement for statement in found}

    def _write(self, connection: Connection, stored: list[tuple[NewReport, Device]]) -> None:
        if not stored:
            return
        self._write_statements(connection, {new.statement.id: new.statement for new, _ in stored})
        connection.exec_driver_sql(_UPDATE, [_update_values(new, row) for new, row in stored])
        changed = [
            (new.device, new.epoch, new.seq, new.received_at, new.statement.id)
            for new, row in stored
            if row.statement != new.statement.id
        ]
        if changed:
            connection.exec_driver_sql(_CHANGE, changed)

    def _write_statements(self, connection: Connection, statements: dict[int, Statement]) -> None:
        fresh = [statement for number, statement in statements.items() if number not in self._complete]
        self._database.insert_missing(
            connection,
            _STATEMENTS,
            [
                {
                    "id": statement.id,
                    "fingerprint": statement.fingerprint,
                    "evidence": json.dumps(statement.evidence, sort_keys=True),
                }
                for statement in fresh
            ],
        )

    def _missing(self, connection: Connection, statements: list[Statement]) -> dict[int, list[str]]:
        """Return, by statement, the objects it needs that are not here. Known statements need none."""
        missing: dict[int, list[str]] = {}
        for statement in statements:
            if statement.id not in self._complete and statement.id not in missing:
                missing[statement.id] = absent_objects(self._database, connection, statement.objects())
        return missing

    def _learn(self, missing: dict[int, list[str]]) -> None:
        if len(self._complete) > _MOST_KNOWN:
            self._complete.clear()
        self._complete.update(number for number, absent in missing.items() if not absent)


def _rows(connection: Connection, devices: list[str]) -> dict[str, Device]:
    rows = connection.exec_driver_sql(_ROWS, (json.dumps(devices),))
    labels: dict[str, dict[str, str]] = {}
    found: dict[str, Device] = {}
    for device, state, text, key_id, epoch, enrolled_at, hardware, seq, report, *rest in rows:
        if text not in labels:
            labels[text] = json.loads(text)
        state_name, digest = STATES[state], report.hex()
        found[device] = Device(
            device, state_name, labels[text], key_id, epoch, enrolled_at, hardware, seq, digest, *rest
        )
    return found


def _after(row: Device, new: NewReport, receipt: Receipt) -> Device:
    """Return what the row will be, for the next report of the same device in this batch."""
    if receipt == "stored":
        return replace(
            row,
            seq=new.seq,
            report=new.report,
            statement=new.statement.id,
            seen_at=new.seen_at,
            received_at=new.received_at,
            clock_offset=new.clock_offset,
            hardware=_hardware(new, row),
        )
    return replace(row, state="quarantined") if receipt in CLONED else row


def _hardware(new: NewReport, row: Device) -> str:
    """Return what is known of the hardware: a report that says nothing of it takes nothing back."""
    return new.hardware or row.hardware


def _update_values(new: NewReport, row: Device) -> tuple[Any, ...]:
    return (
        new.seq,
        bytes.fromhex(new.report),
        new.statement.id,
        new.seen_at,
        new.received_at,
        new.clock_offset,
        _hardware(new, row),
        new.results,
        new.readings,
        new.device,
    )


def _quarantine(
    connection: Connection,
    before: dict[str, Device],
    after: dict[str, Device],
    receipts: Sequence[tuple[Receipt, Device | None]],
    batch: Sequence[NewReport],
) -> None:
    quarantined = {
        name
        for name, row in after.items()
        if row.state == "quarantined" and before[name].state != "quarantined"
    }
    if not quarantined:
        return
    state = STATES.index("quarantined")
    connection.exec_driver_sql(_QUARANTINE, [(state, name) for name in sorted(quarantined)])
    deeds = {
        new.device: Deed(
            new.received_at,
            f"key:{new.key_id}",
            "device.quarantine",
            new.device,
            {"why": receipt, "seq": new.seq, "hardware": new.hardware},
        )
        for new, (receipt, _) in zip(batch, receipts, strict=True)
        if receipt in CLONED and new.device in quarantined
    }
    append_deeds(connection, list(deeds.values()))


def _statement_of(row: Any) -> Statement:
    return Statement(id=row.id, fingerprint=row.fingerprint, evidence=json.loads(row.evidence))
