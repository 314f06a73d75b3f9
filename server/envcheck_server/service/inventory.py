"""The inventory: which devices ought to be there, and which keys a factory made known beforehand."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from envcheck.contract.canonical import canonical_json
from envcheck.contract.keys import key_id
from envcheck.contract.wire import Inventory, InventoryAnswer, InventoryDevice
from envcheck.errors import BadInput
from envcheck_server.service.audit import LOCAL, Recorder, together
from envcheck_server.service.enrolment import check_device_id, check_labels
from envcheck_server.service.keys import HARDWARE_DIGITS
from envcheck_server.service.times import Clock
from envcheck_server.store.interface import Store
from envcheck_server.store.values import ExpectedDevice, Preauthorised

_HARDWARE = re.compile(rf"[0-9a-f]{{{HARDWARE_DIGITS},64}}")
_MOST = 10_000_000
_NAMED = 20
_TOLD = 5

T = TypeVar("T")

# A row of a CSV: the number of its line, and its cells by the names of their columns.
Row = tuple[int, dict[str, str]]


class InventoryService:
    """Keeps the inventory."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._recorder = Recorder(store, clock)

    @together
    def expect(self, devices: Sequence[InventoryDevice], *, by: str = LOCAL) -> InventoryAnswer:
        """Put these devices in the place of those expected before; raises BadInput and changes nothing."""
        if len(devices) > _MOST:
            raise BadInput(f"devices: {len(devices)} are named, at most {_MOST} can be")
        seen: set[str] = set()
        for number, one in enumerate(devices):
            check_device_id(one.device, f"devices[{number}].device")
            check_labels(one.labels, f"devices[{number}].labels")
            if one.device in seen:
                raise BadInput(f"devices[{number}].device: {one.device} is named twice")
            seen.add(one.device)
        self._store.expected.replace(ExpectedDevice(one.device, one.labels) for one in devices)
        told = [[one.device, one.labels] for one in devices]
        self._record(by, "inventory.expect", told)
        return self.status()

    def status(self) -> InventoryAnswer:
        """Return how many devices are expected, and which of them are not there."""
        missing, first = self._store.expected.absent(None, _NAMED)
        return InventoryAnswer(expected=self._store.expected.count(), missing=missing, absent=first)

    @together
    def preauthorise(self, keys: Sequence[Preauthorised], *, by: str = LOCAL) -> None:
        """Let devices enrol with these keys on their own hardware without a token."""
        self._store.preauthorised.put(keys)
        told = [[one.key_id, one.hardware, one.name, one.labels] for one in keys]
        self._record(by, "inventory.preauthorise", told)

    def _record(self, by: str, action: str, told: Sequence[Sequence[object]]) -> None:
        whole = hashlib.sha256()
        for one in told:
            whole.update(canonical_json(list(one)) + b"\n")
        self._recorder.record(by, action, "inventory", count=len(told), sha256=whole.hexdigest())


def read_expected(data: bytes, source: str) -> Inventory:
    """Read a list of devices: one id a line, or a CSV with a head `device` and label names.

    Raises BadInput that names the lines which do not fit.
    """
    rows = _rows(data, source, ("device",))
    return Inventory(devices=_convert(rows, _expected, source, lambda one: one.device))


def read_preauthorised(data: bytes, source: str, now: int) -> list[Preauthorised]:
    """Read a CSV of `hardware`, `public_key`, `device` (may be empty), and labels by their names.

    Raises BadInput that names the lines which do not fit.
    """
    rows = _rows(data, source, ("hardware", "public_key", "device"))
    return _convert(rows, lambda cells: _preauthorised(cells, now), source, lambda one: one.key_id)


def _rows(data: bytes, source: str, usual: tuple[str, ...]) -> Iterator[Row]:
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{source} is not UTF-8 text (byte {error.start})") from None
    head: tuple[str, ...] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = _cells(line, source, number)
        if cells[0].lower() in (usual[0], "id", "device_id") and (head is None or cells == list(head)):
            head = (usual[0], *cells[1:])
            _check_head(head, source, number)
            continue
        names = head or usual
        if len(cells) > len(names):
            raise BadInput(
                f"{source}, line {number}: it has {len(cells)} cells, wanted are {', '.join(names)}",
                f"begin the file with a line that names the columns, like: {','.join((*usual, 'site'))}",
            )
        yield number, dict(zip(names, cells, strict=False))


def _cells(line: str, source: str, number: int) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    except csv.Error as error:
        raise BadInput(f"{source}, line {number}: it is not CSV: {error}") from None


def _check_head(head: tuple[str, ...], source: str, number: int) -> None:
    for name in head:
        if not name or head.count(name) > 1:
            what = f"the column {name[:80]!r} is there twice" if name else "a column has no name"
            raise BadInput(f"{source}, line {number}: {what}")


def _convert(
    rows: Iterator[Row], read: Callable[[Mapping[str, str]], T], source: str, named: Callable[[T], str]
) -> list[T]:
    """Read every row, and raise one BadInput that names the lines at fault."""
    found: list[T] = []
    lines: dict[str, int] = {}
    faults: list[str] = []
    for number, cells in rows:
        try:
            one = read(cells)
        except BadInput as error:
            faults.append(f"line {number}: {error.message}")
            continue
        if (first := lines.setdefault(named(one), number)) != number:
            faults.append(f"line {number}: the same as line {first}")
        found.append(one)
        if len(found) > _MOST:
            raise BadInput(f"{source} names more than {_MOST} devices", "nothing of the file was taken")
    if faults:
        more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise BadInput(f"{source}, {'; '.join(faults[:_TOLD])}{more}", "nothing of the file was taken")
    if not found:
        raise BadInput(f"{source} names no device")
    return found


def _expected(cells: Mapping[str, str]) -> InventoryDevice:
    check_device_id(cells["device"], "device")
    return InventoryDevice(device=cells["device"], labels=_labels(cells, ("device",)))


def _preauthorised(cells: Mapping[str, str], now: int) -> Preauthorised:
    hardware, public_key, device = (cells.get(name, "") for name in ("hardware", "public_key", "device"))
    if _HARDWARE.fullmatch(hardware) is None:
        raise BadInput(f"hardware: {hardware[:80]!r} is no id of hardware")
    if device:
        check_device_id(device, "device")
    return Preauthorised(
        key_id=key_id(public_key),
        public_key=public_key,
        hardware=hardware[:HARDWARE_DIGITS],
        name=device,
        labels=_labels(cells, ("hardware", "public_key", "device")),
        created_at=now,
    )


def _labels(cells: Mapping[str, str], others: tuple[str, ...]) -> dict[str, str]:
    """Return the cells that are labels; an empty cell is none."""
    labels = {name: cell for name, cell in cells.items() if name not in others and cell}
    check_labels(labels, "labels")
    return labels
