"""What both stores have in common: the tables over one database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, func, select

from envcheck.errors import BadInput
from envcheck_server.store import tables
from envcheck_server.store.audit import AuditTable
from envcheck_server.store.database import Database, repeated
from envcheck_server.store.devices import DeviceTable
from envcheck_server.store.expected import ExpectedTable, PreauthorisedTable
from envcheck_server.store.fleet import FleetTable
from envcheck_server.store.interface import (
    Audit,
    Devices,
    Expected,
    Fleet,
    Objects,
    Preauthorisations,
    Releases,
    Reports,
    Tokens,
    Waivers,
)
from envcheck_server.store.migrate import current_revision, newest_revision, upgrade
from envcheck_server.store.objects import ObjectTable
from envcheck_server.store.prune import Pruner
from envcheck_server.store.releases import ReleaseTable
from envcheck_server.store.reports import ReportTable
from envcheck_server.store.tokens import TokenTable
from envcheck_server.store.values import Pruned
from envcheck_server.store.waivers import WaiverTable


class SqlStore:
    """A Store over a database. `name` is how people are told of it."""

    def __init__(self, database: Database, name: str, scratch: Path | None) -> None:
        self.name = name
        self.scratch = scratch
        self._database = database
        self.tokens: Tokens = TokenTable(database)
        self.devices: Devices = DeviceTable(database)
        self.reports: Reports = ReportTable(database)
        self.objects: Objects = ObjectTable(database)
        self.releases: Releases = ReleaseTable(database)
        self.fleet: Fleet = FleetTable(database)
        self.audit: Audit = AuditTable(database)
        self.expected: Expected = ExpectedTable(database)
        self.preauthorised: Preauthorisations = PreauthorisedTable(database)
        self.waivers: Waivers = WaiverTable(database)

    def together(self) -> AbstractContextManager[None]:
        """Make one transaction of everything that this thread reads and writes inside the block."""
        return self._database.together()

    def check(self) -> None:
        """Raise StoreBusy or StoreFull unless the store can be read and written."""
        with self._database.write(concurrent=True) as connection:
            # Rewrites what is there: enough to need room in the log, and it changes nothing.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
            self._database.need_room(connection)

    @repeated
    def migrate(self) -> tuple[str, str]:
        """Bring the schema to the newest revision; return the revision before and after."""
        with self._database.write(alone=True) as connection:
            before = current_revision(connection)
            upgrade(connection)
            return before, current_revision(connection)

    def revision(self) -> str:
        """Return the schema's revision, "" for an empty database."""
        with self._database.read() as connection:
            return current_revision(connection)

    def stats(self) -> dict[str, int]:
        """Return row counts by table, and the size of the database in bytes as `bytes`."""
        with self._database.read() as connection:
            counts = {
                name: connection.scalar(select(func.count()).select_from(table)) or 0
                for name, table in tables.metadata.tables.items()
            }
            return {**counts, "bytes": self._database.size(connection)}

    def prune(self, history_before: int, evidence_before: int) -> Pruned:
        """Remove history and evidence from before these times, and what nothing refers to any more."""
        return Pruner(self._database).prune(history_before, evidence_before)

    def sizes(self) -> dict[str, int]:
        """Return bytes on the disk by table; empty where that is not known."""
        with self._database.read() as connection:
            found = self._database.sizes(connection)
            return {name: found[name] for name in tables.metadata.tables if name in found}

    def reading(self) -> AbstractContextManager[Connection]:
        """Return one snapshot of the database, to copy it."""
        return self._database.read()

    def writing_alone(self) -> AbstractContextManager[Connection]:
        """Return a transaction beside which nobody writes, to copy into."""
        return self._database.write(alone=True)

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()


def check_revision(store: SqlStore) -> None:
    """Raise BadInput, and close the store, unless its schema is the newest."""
    try:
        found = store.revision()
    except BaseException:
        store.close()
        raise
    if found != newest_revision():
        store.close()
        what = f"has the schema {found}" if found else "holds no collector's data"
        raise BadInput(
            f"{store.name} {what}; this envcheck-server needs {newest_revision()}",
            "run: envcheck-server migrate",
        )
