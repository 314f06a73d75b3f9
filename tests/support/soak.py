"""Kill the collector, or its PostgreSQL, again and again under load; hold the store to what was acknowledged.

Every report states something that no other states, so that each one stored leaves a row in the history: none
that was acknowledged may be missing there.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from sqlalchemy import select
from support.collector import Device
from support.postgres import Server, own_server
from support.process import Process, Wire

from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.wire import Report, ReportAnswer
from envcheck_server.service.services import make_services
from envcheck_server.settings import Settings
from envcheck_server.store import tables
from envcheck_server.store.opening import open_store

Named = tuple[str, int]

_PATIENCE_S = 90.0


@dataclass
class Load:
    """Devices that report as fast as they can, each from a thread, and what was acknowledged to them.

    A report that was not acknowledged comes again, byte for byte, before the next one, as the agent does it.
    """

    process: Process
    devices: list[Device]
    acknowledged: set[Named] = field(default_factory=set)
    turned_away: int = 0
    resent: int = 0
    wrong: list[str] = field(default_factory=list)
    _pending: dict[str, Report] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def enrol(cls, process: Process, count: int) -> Load:
        """Enrol devices with a running collector."""
        devices = [Device(None, f"soak-{number:03}") for number in range(count)]  # type: ignore[arg-type]
        with operate(process) as services, closing(Wire(process.url)) as wire:
            for device in devices:
                secret, _ = services.tokens.create("enroll", uses=1)
                device.http = wire
                device.enrol(secret)
        return cls(process, devices)

    def start(self) -> None:
        """Begin, or go on with a collector that was started again."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._report, args=(device,)) for device in self.devices]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every device noticed that its collector is gone."""
        for thread in self._threads:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive(), "a device waits for ever"

    def stop(self) -> None:
        """Let every device finish the report that it is at."""
        self._stopping.set()
        self.join()

    def wait(self, more: int) -> None:
        """Wait until so many more reports were acknowledged."""
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + _PATIENCE_S
        while len(self.acknowledged) < wanted:
            assert not self.wrong, self.wrong[:3]
            assert time.monotonic() < deadline, "the collector acknowledges nothing"
            time.sleep(0.002)

    def lost(self) -> set[Named]:
        """Return the reports that were acknowledged and are not in the store."""
        store = open_store(self.process.place)
        try:
            with store._database.read() as connection:
                rows = connection.execute(select(tables.changes.c.device, tables.changes.c.seq))
                stored = {(device, seq) for device, seq in rows}
            for device in self.devices:
                row = store.devices.find(device.name)
                assert row is not None
                assert row.state == "accepted", (device.name, row.state)
                assert row.seq <= device.seq, "a report was stored that nobody sent"
        finally:
            store.close()
        return self.acknowledged - stored

    def _report(self, device: Device) -> None:
        device.http = wire = Wire(self.process.url)
        try:
            while not self._stopping.is_set():
                self._one(device)
        except OSError:
            return
        finally:
            wire.close()

    def _one(self, device: Device) -> None:
        report = self._pending.get(device.name)
        if report is None:
            claim = digest(f"{device.name} {device.seq + 1}".encode())
            report = self._pending[device.name] = device.compose(fingerprint=claim)
        else:
            self.resent += 1
        answer = device.put_report(report)
        if answer.status_code == 200:
            told = decode(answer.content, ReportAnswer, "the answer")
            if told.stored != digest(encode(report)):
                self.wrong.append(f"{device.name} {report.seq}: another report was acknowledged")
            self.acknowledged.add((device.name, report.seq))
            del self._pending[device.name]
        elif answer.status_code in (503, 507) and int(answer.headers["retry-after"]) > 0:
            self.turned_away += 1
            self._stopping.wait(0.1)
        else:
            self.wrong.append(f"{device.name} {report.seq}: {answer.status_code} {answer.text}")
            self._stopping.set()


@contextmanager
def operate(process: Process) -> Iterator:
    """The services over a collector's database, beside it, as its commands have them."""
    store = open_store(process.place)
    services = make_services(Settings(), store)
    try:
        yield services
    finally:
        services.writer.close()
        store.close()


@dataclass
class Found:
    """What became of one kind of killing on one kind of store."""

    what: str
    rounds: int = 0
    acknowledged: int = 0
    resent: int = 0
    turned_away: int = 0
    lost: int = 0
    slowest_s: float = 0.0

    def line(self) -> str:
        return (
            f"{self.what:<34} {self.rounds:>6} {self.acknowledged:>12,} {self.resent:>7,} "
            f"{self.turned_away:>11,} {self.lost:>5} {self.slowest_s:>10.1f} s"
        )


HEAD = (
    f"{'killed':<34} {'rounds':>6} {'acknowledged':>12} {'resent':>7} "
    f"{'turned away':>11} {'lost':>5} {'slowest back':>12}"
)


def kill_collector(process: Process, rounds: int, devices: int, each: Callable[[Found], None]) -> Found:
    """Kill the collector with SIGKILL at some moment under load, as often as `rounds` says."""
    process.start()
    load = Load.enrol(process, devices)
    found, lot = Found("collector, kill -9"), random.Random(1)
    for turn in range(rounds):
        begun = time.monotonic()
        if turn:
            process.start()
        load.start()
        load.wait(1)
        found.slowest_s = max(found.slowest_s, time.monotonic() - begun)
        load.wait(devices)
        time.sleep(lot.uniform(0, 0.2))
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
        load.join()
        _note(found, load)
        each(found)
    return found


def kill_postgres(
    process: Process, server: Server, rounds: int, devices: int, each: Callable[[Found], None]
) -> Found:
    """Let PostgreSQL crash with SIGQUIT under load; the collector goes on and finds it again by itself."""
    process.start()
    load = Load.enrol(process, devices)
    found, lot = Found("PostgreSQL, SIGQUIT"), random.Random(2)
    load.start()
    for _ in range(rounds):
        load.wait(devices)
        time.sleep(lot.uniform(0, 0.2))
        server.stop(signal.SIGQUIT)
        time.sleep(lot.uniform(0, 0.5))
        server.start()
        begun = time.monotonic()
        load.wait(devices)
        found.slowest_s = max(found.slowest_s, time.monotonic() - begun)
        _note(found, load)
        each(found)
    load.stop()
    _note(found, load, rounds=0)
    assert process.stop() == 0
    return found


def _note(found: Found, load: Load, rounds: int = 1) -> None:
    assert not load.wrong, load.wrong[:3]
    before = set(load.acknowledged)
    load_lost = load.lost()
    found.rounds += rounds
    found.acknowledged = len(before)
    found.resent, found.turned_away = load.resent, load.turned_away
    found.lost = len(load_lost & before)


@click.command()
@click.option("--rounds", default=300, show_default=True, help="Times that each collector is killed.")
@click.option("--postgres-rounds", default=20, show_default=True, help="Times that PostgreSQL is killed.")
@click.option("--devices", default=16, show_default=True, help="Devices that report at the same time.")
@click.option("--store", "stores", multiple=True, type=click.Choice(["sqlite", "postgres"]))
def soak(rounds: int, postgres_rounds: int, devices: int, stores: tuple[str, ...]) -> None:
    """Kill the collector under load and look for acknowledged reports that are gone."""
    table: list[Found] = []

    def each(found: Found) -> None:
        if found.rounds % 10 == 0:
            click.echo(found.line(), err=True)

    with tempfile.TemporaryDirectory(prefix="envcheck-soak-") as directory:
        if "sqlite" in stores or not stores:
            place = Path(directory, "sqlite")
            place.mkdir()
            with collector(place) as process:
                found = kill_collector(process, rounds, devices, each)
                found.what += ", SQLite"
                table.append(found)
        if "postgres" in stores or not stores:
            # As it is run in earnest: a commit is on the disk.
            with own_server(fsync="on") as server:
                for number, kill in enumerate((True, False)):
                    place = Path(directory, f"postgres-{number}")
                    place.mkdir()
                    with collector(place, _database(server, f"soak_{number}")) as process:
                        if kill:
                            found = kill_collector(process, rounds, devices, each)
                            found.what += ", PostgreSQL"
                        else:
                            found = kill_postgres(process, server, postgres_rounds, devices, each)
                        table.append(found)
    click.echo("\n".join([HEAD, *(one.line() for one in table)]))
    sys.exit(1 if any(one.lost for one in table) else 0)


@contextmanager
def collector(directory: Path, database: Path | str = "") -> Iterator[Process]:
    """A process that is not started yet; nothing of it is left behind."""
    process = Process(directory, database=database)
    try:
        yield process
    finally:
        process.end()


def _database(server: Server, name: str) -> str:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    return server.url.rpartition("/")[0] + f"/{name}"


if __name__ == "__main__":
    soak()
