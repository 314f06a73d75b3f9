"""The hot path: a batch of reports in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, select, update

from envcheck_server.store import tables
from envcheck_server.store.audit import append_deeds
from envcheck_server.store.database import Database, repeated
from envcheck_server.store.objects import absent_objects
from envcheck_server.store.packing import pack_hex, pack_results, unpack_hex
from envcheck_server.store.releases import all_releases
from envcheck_server.store.tables import STATES
from envcheck_server.store.values import (
    CLONED,
    Deed,
    Device,
    NewReport,
    Receipt,
    Received,
    Statement,
    report_name,
)

_STATEMENTS = tables.statements
_PRUNINGS = tables.prunings
_MOST_KNOWN = 100_000
# How exactly the store knows when a statement was last used.
USED_TO_S = 86_400

_Judge = Callable[[Device | None, NewReport], Receipt]


class ReportTable:
    """The devices' statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Statements that are stored, and all of whose objects are here.
        self._complete: set[int] = set()
        self._prunings = 0

    @repeated
    def receive(self, batch: Sequence[NewReport], judge: _Judge) -> list[Received]:
        """Store every report that `judge` calls "stored"; durable when this returns."""
        with self._database.write(concurrent=True) as connection:
            before = _rows(self._database, connection, sorted({new.device for new in batch}))
            judged = _judge(batch, before, judge)
            self._forget(connection)
            self._write(connection, judged)
            append_deeds(connection, _quarantines(judged))
            missing = self._missing(connection, [new.statement for new in batch])
            releases = all_releases(connection, retired=False)
        self._learn(missing, {one.new.statement.id for one in judged if one.receipt == "stored"})
        return [
            Received(one.receipt, one.row, missing.get(one.new.statement.id, []), releases) for one in judged
        ]

    def statements(self, ids: Collection[int]) -> dict[int, Statement]:
        """Return statements by id."""
        query = select(_STATEMENTS).where(self._database.among(_STATEMENTS.c.id, ids))
        with self._database.read() as connection:
            found = [_statement_of(row) for row in connection.execute(query)]
        return {statement.id: statement for statement in found}

    def _write(self, connection: Connection, judged: list[_Judged]) -> None:
        stored = [one for one in judged if one.receipt == "stored" and one.row is not None]
        self._write_statements(connection, {one.new.statement.id: one.new.statement for one in stored})
        # The last that became of each device, in the order of their ids.
        after = {one.new.device: one for one in judged if one.changes}
        last = {one.new.device: one.new for one in stored}
        if after:
            rows = [_row_values(after[name].after, last.get(name)) for name in sorted(after)]
            self._database.hot.update(connection, rows)
        changed = [
            (new.device, new.epoch, new.seq, new.received_at, new.statement.id)
            for new, row in ((one.new, one.row) for one in stored)
            if row is not None and row.statement != new.statement.id
        ]
        if changed:
            self._database.hot.change(connection, sorted(changed))
            self._use(connection, {row[4] for row in changed}, max(row[3] for row in changed))

    def _use(self, connection: Connection, statements: set[int], now: int) -> None:
        """Note that devices came to state these, once a day: whoever prunes goes by it."""
        stale = self._database.among(_STATEMENTS.c.id, statements) & (_STATEMENTS.c.used_at < now - USED_TO_S)
        query = select(_STATEMENTS.c.id).where(stale).order_by(_STATEMENTS.c.id)
        found = list(connection.scalars(self._database.held(query, _STATEMENTS)))
        if found:
            these = self._database.among(_STATEMENTS.c.id, found)
            connection.execute(update(_STATEMENTS).where(these).values(used_at=now))

    def _write_statements(self, connection: Connection, statements: dict[int, Statement]) -> None:
        fresh = [statement for number, statement in statements.items() if number not in self._complete]
        rows = [
            {
                "id": statement.id,
                "fingerprint": statement.fingerprint,
                "evidence": json.dumps(statement.evidence, sort_keys=True),
                "used_at": 0,
                "model": statement.model,
            }
            for statement in sorted(fresh, key=lambda statement: statement.id)
        ]
        self._database.insert_missing(connection, _STATEMENTS, rows)

    def _missing(self, connection: Connection, statements: list[Statement]) -> dict[int, list[str]]:
        """Return, by statement, the objects it needs that are not here. Known statements need none."""
        missing: dict[int, list[str]] = {}
        for statement in statements:
            if statement.id not in self._complete and statement.id not in missing:
                missing[statement.id] = absent_objects(self._database, connection, statement.objects())
        return missing

    def _forget(self, connection: Connection) -> None:
        """Forget what is complete if any process has pruned since."""
        number = connection.scalar(select(_PRUNINGS.c.number)) or 0
        if number != self._prunings:
            self._complete.clear()
            self._prunings = number

    def _learn(self, missing: dict[int, list[str]], stored: set[int]) -> None:
        if len(self._complete) > _MOST_KNOWN:
            self._complete.clear()
        self._complete.update(number for number, absent in missing.items() if not absent and number in stored)


class _Judged:
    """A report, what it is to its device, and the device before and after it."""

    __slots__ = ("after", "new", "receipt", "row")

    def __init__(self, new: NewReport, receipt: Receipt, row: Device | None) -> None:
        self.new = new
        self.receipt = receipt
        self.row = row
        self.after = None if row is None else _after(row, new, receipt)

    @property
    def changes(self) -> bool:
        return self.after is not self.row


def _judge(batch: Sequence[NewReport], before: dict[str, Device], judge: _Judge) -> list[_Judged]:
    """Judge in order: each report finds its device as the one before it left it."""
    rows = dict(before)
    judged = []
    for new in batch:
        row = rows.get(new.device)
        one = _Judged(new, judge(row, new), row)
        judged.append(one)
        if one.after is not None:
            rows[new.device] = one.after
    return judged


def _rows(database: Database, connection: Connection, devices: list[str]) -> dict[str, Device]:
    labels: dict[str, dict[str, str]] = {}
    found: dict[str, Device] = {}
    for device, state, text, key_id, epoch, enrolled_at, hardware, seq, report, *rest in database.hot.rows(
        connection, devices
    ):
        if text not in labels:
            labels[text] = json.loads(text)
        found[device] = Device(
            device,
            STATES[state],
            labels[text],
            unpack_hex(key_id),
            epoch,
            enrolled_at,
            unpack_hex(hardware),
            seq,
            unpack_hex(report),
            *rest,
        )
    return found


def _after(row: Device, new: NewReport, receipt: Receipt) -> Device:
    """Return what the row will be."""
    if receipt == "stored":
        return replace(
            row,
            seq=new.seq,
            report=report_name(new.report),
            statement=new.statement.id,
            seen_at=new.seen_at,
            received_at=new.received_at,
            clock_offset=new.clock_offset,
            # A report that says nothing of the hardware takes nothing back.
            hardware=new.hardware or row.hardware,
        )
    return replace(row, state="quarantined") if receipt in CLONED else row


def _row_values(device: Device | None, last: NewReport | None) -> tuple[Any, ...]:
    """Return a row for `Hot.update`: None keeps the results and readings that are there."""
    assert device is not None  # noqa: S101  (only devices that are there are changed)
    return (
        device.device,
        STATES.index(device.state),
        device.seq,
        pack_hex(device.report),
        device.statement,
        device.seen_at,
        device.received_at,
        device.clock_offset,
        pack_hex(device.hardware),
        pack_results(last.results) if last is not None else None,
        last.readings if last is not None else None,
    )


def _quarantines(judged: list[_Judged]) -> list[Deed]:
    return [
        Deed(
            one.new.received_at,
            f"key:{one.new.key_id}",
            "device.quarantine",
            one.new.device,
            {"why": one.receipt, "seq": one.new.seq, "hardware": one.new.hardware},
        )
        for one in judged
        if one.changes and one.receipt in CLONED and one.row is not None and one.row.state != "quarantined"
    ]


def _statement_of(row: Any) -> Statement:
    return Statement(row.id, row.fingerprint, json.loads(row.evidence), row.model)
