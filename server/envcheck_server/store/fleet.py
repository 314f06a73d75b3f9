"""Questions about many devices, answered by grouping over small integers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from envcheck.contract.wire import DeviceState
from envcheck_server.store import tables
from envcheck_server.store.database import Database
from envcheck_server.store.devices import device_of, select_devices
from envcheck_server.store.packing import PLACES, short_name, unpack_results
from envcheck_server.store.tables import STATES
from envcheck_server.store.values import Cuts, Device, Group, Readings, Survey

_DEVICES = tables.devices
_KEYS = tables.device_keys
_LABELS = tables.label_sets
_STATEMENTS = tables.statements
_MANY = 1000
_SAMPLE = 1000
_ACCEPTED = STATES.index("accepted")
_REVOKED = STATES.index("revoked")

Selects = Callable[[Mapping[str, str]], bool]


class FleetTable:
    """The table of devices, seen as a fleet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def select(self, selects: Selects) -> list[int]:
        """Return the label sets that `selects` calls for, whether a device has them now or not."""
        with self._database.read() as connection:
            return _select(connection, selects)

    def survey(self, selects: Selects | None, cuts: Cuts, expected: Collection[str]) -> Survey:
        """Count the devices that `selects` calls for (None: all), in one snapshot."""
        with self._database.read() as connection:
            label_sets = None if selects is None else _select(connection, selects)
            groups = self._groups(connection, label_sets, cuts)
            readings = self._readings(connection, [group.first for group in groups])
            present = self._present(connection, expected, label_sets) if expected else set()
        return Survey(label_sets, groups, readings, sorted(set(expected) - present))

    def states(self) -> dict[DeviceState, int]:
        """Count the devices of every state that some are in."""
        counted = select(_DEVICES.c.state, func.count()).group_by(_DEVICES.c.state)
        with self._database.read() as connection:
            return {STATES[state]: count for state, count in connection.execute(counted)}

    def first(
        self, label_sets: Collection[int] | None, cuts: Cuts, groups: Sequence[Group], limit: int
    ) -> list[str]:
        """Return the first ids of the selected devices that are in any of `groups`."""
        # Few devices are found by their statement; of many, the first are found soonest in the order of ids.
        many = sum(group.count for group in groups) > _MANY
        with self._database.read() as connection:
            waivers = self._waivers(connection, cuts) if cuts.waivers else literal(0)
            among = self._in_groups(groups, self._lines(cuts), waivers, indexed=not many)
            query = select(_DEVICES.c.device).where(self._selected(label_sets), among)
            return list(connection.scalars(query.order_by(_DEVICES.c.device).limit(limit)))

    def readings(self, devices: Collection[str]) -> dict[str, Readings]:
        """Return the readings of devices by id."""
        with self._database.read() as connection:
            return self._readings(connection, devices)

    def page(
        self,
        label_sets: Collection[int] | None,
        after: str,
        limit: int,
        *,
        revoked: bool,
        state: DeviceState | None = None,
    ) -> list[Device]:
        """Return the devices that follow `after` in the order of their ids.

        Of the `state` "pending" are also those with another key that waits.
        """
        chosen = self._selected(label_sets, revoked=revoked)
        query = select_devices().where(_DEVICES.c.device > after, chosen)
        if state is not None:
            query = query.where(_is_in(state))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_DEVICES.c.device).limit(limit))
            return [device_of(row) for row in rows]

    def _groups(self, connection: Connection, label_sets: Collection[int] | None, cuts: Cuts) -> list[Group]:
        if self._database.sorts_groups and label_sets is None and not cuts.waivers:
            return self._groups_by_index(connection, cuts)
        return self._count(connection, cuts, self._selected(label_sets))

    def _count(self, connection: Connection, cuts: Cuts, selected: ColumnElement[bool]) -> list[Group]:
        key: list[ColumnElement[Any]] = [
            _DEVICES.c.state,
            _DEVICES.c.statement,
            self._lines(cuts).label("lines"),
        ]
        counted = [func.count().label("count"), func.min(_DEVICES.c.device).label("first")]
        query = select(*key, *counted).where(selected)
        if cuts.waivers:
            waivers = self._waivers(connection, cuts).label("waivers")
            query, key = query.add_columns(waivers), [*key, waivers]
        rows = connection.execute(query.group_by(*key))
        return [Group(STATES[row[0]], *row[1:]) for row in rows]

    def _groups_by_index(self, connection: Connection, cuts: Cuts) -> list[Group]:
        """Sort the odd devices only. The others differ in their statement alone, by which an index counts."""
        lines = self._lines(cuts)
        side = _usual(connection, lines)
        is_odd = or_(_DEVICES.c.state != _ACCEPTED, lines != side)
        found = self._count(connection, cuts, is_odd)
        odd: Counter[int | None] = Counter()
        for group in found:
            odd[group.statement] += group.count
        column = _DEVICES.c.statement
        every = select(column, func.count(), func.min(_DEVICES.c.device)).group_by(column)
        for statement, count, first in connection.execute(every).all():
            usual = count - odd[statement]
            if usual and odd[statement]:
                like = select(_DEVICES.c.device).where(column.is_not_distinct_from(statement), not_(is_odd))
                first = connection.scalar(like.order_by(_DEVICES.c.device).limit(1))
            if usual:
                found.append(Group("accepted", statement, side, usual, first))
        return [group for group in found if group.state != "revoked"]

    def _waivers(self, connection: Connection, cuts: Cuts) -> ColumnElement[int]:
        """Return one integer with a bit for each waiver that means a device's labels."""
        bits: ColumnElement[Any] = literal(0)
        for place, selects in enumerate(cuts.waivers):
            meant = self._database.among(_DEVICES.c.label_set, _select(connection, selects))
            bits = bits + case((meant, 1 << place), else_=0)
        return bits.cast(BigInteger)

    def _readings(self, connection: Connection, devices: Collection[str]) -> dict[str, Readings]:
        query = (
            select(
                _DEVICES.c.device,
                _LABELS.c.labels,
                _DEVICES.c.seen_at,
                _DEVICES.c.results,
                _STATEMENTS.c.evidence,
            )
            .join_from(_DEVICES, _LABELS, _LABELS.c.id == _DEVICES.c.label_set)
            .outerjoin(_STATEMENTS, _STATEMENTS.c.id == _DEVICES.c.statement)
            .where(self._database.among(_DEVICES.c.device, devices))
        )
        return {
            device: Readings(
                device, json.loads(labels), seen_at, unpack_results(results, json.loads(evidence or "{}"))
            )
            for device, labels, seen_at, results, evidence in connection.execute(query)
        }

    def _present(
        self, connection: Connection, devices: Collection[str], label_sets: Collection[int] | None
    ) -> set[str]:
        named = self._database.among(_DEVICES.c.device, devices)
        return set(connection.scalars(select(_DEVICES.c.device).where(named, self._selected(label_sets))))

    def _selected(self, label_sets: Collection[int] | None, *, revoked: bool = False) -> ColumnElement[bool]:
        terms: list[ColumnElement[bool]] = [true()] if revoked else [_DEVICES.c.state != _REVOKED]
        if label_sets is not None:
            terms.append(self._database.among(_DEVICES.c.label_set, label_sets))
        return and_(*terms)

    def _lines(self, cuts: Cuts) -> ColumnElement[int]:
        """Return one small integer that tells on which side of every cut a device is."""
        seen = _DEVICES.c.seen_at
        lines: ColumnElement[Any] = case((seen < cuts.seen_before, 1), (seen > cuts.seen_until, 2), else_=0)
        limits = {
            ("latency", "p50_ms"): cuts.p50_ms,
            ("latency", "p90_ms"): cuts.p90_ms,
            ("peak_memory_mb",): cuts.peak_memory_mb,
        }
        for path, drawn in limits.items():
            if drawn:
                lines = lines * (len(drawn) + 2) + _side(self._number(cuts.bundle, path), drawn)
        if any(limits.values()):
            throttled = self._number(cuts.bundle, ("throttled",))
            lines = lines * 2 + func.coalesce(throttled, literal(0))
        return lines.cast(BigInteger)

    def _number(self, bundle: str, path: tuple[str, ...]) -> ColumnElement[Any]:
        return self._database.number_at(_DEVICES.c.results, short_name(bundle), PLACES[path])

    def _in_groups(
        self,
        groups: Sequence[Group],
        lines: ColumnElement[int],
        waivers: ColumnElement[int],
        *,
        indexed: bool,
    ) -> ColumnElement[bool]:
        column = _DEVICES.c.statement if indexed else _DEVICES.c.statement + 0
        kinds: dict[tuple[int, int, int], set[int | None]] = {}
        for group in groups:
            kind = (STATES.index(group.state), group.lines, group.waivers)
            kinds.setdefault(kind, set()).add(group.statement)
        terms = []
        for (state, side, waived), statements in kinds.items():
            known = [number for number in statements if number is not None]
            statement = self._database.among(column, known)
            if None in statements:
                statement = or_(statement, _DEVICES.c.statement.is_(None))
            alike = and_(_DEVICES.c.state == state, lines == side, waivers == waived)
            terms.append(and_(alike, statement))
        return or_(*terms)


def _side(figure: ColumnElement[Any], limits: Sequence[float]) -> ColumnElement[int]:
    """Tell how many limits, from the lowest on, a figure is beyond; one more than all where it is not known.

    Written so that it is looked up as seldom as can be, which is what takes a gate's time: once where there
    is one limit, and where it is within the lowest.
    """
    if len(limits) == 1:
        return func.coalesce((figure > limits[0]).cast(Integer), literal(2))
    beyond = [(figure > limit, place) for place, limit in reversed([*enumerate(limits, 1)])]
    return case((figure <= limits[0], 0), *beyond, else_=len(limits) + 1)


def _usual(connection: Connection, lines: ColumnElement[int]) -> int:
    """Return on which side of the cuts most devices are, as far as a few tell: no answer depends on it."""
    some = select(lines).where(_DEVICES.c.state == _ACCEPTED).limit(_SAMPLE)
    return max(Counter(connection.scalars(some)).items(), key=lambda item: item[1], default=(0, 0))[0]


def _is_in(state: DeviceState) -> ColumnElement[bool]:
    held = _DEVICES.c.state == STATES.index(state)
    if state != "pending":
        return held
    waits = exists().where(_KEYS.c.device == _DEVICES.c.device, _KEYS.c.state == STATES.index("pending"))
    return or_(held, waits)


def _select(connection: Connection, selects: Selects) -> list[int]:
    rows = connection.execute(select(_LABELS))
    return [row.id for row in rows if selects(json.loads(row.labels))]
