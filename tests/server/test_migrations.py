"""The schema: what the revisions make is what the code expects, from every revision on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from envcheck.errors import BadInput
from envcheck_server.store import tables
from envcheck_server.store.migrate import _MIGRATIONS, newest_revision, upgrade
from envcheck_server.store.sqlite import SqliteStore, open_sqlite

REVISIONS = [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def test_the_revisions_make_the_tables_that_the_code_knows(store) -> None:
    with store._database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_any_revision_is_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    store = SqliteStore(tmp_path / "collector.db")
    with store._database.write() as connection:
        upgrade(connection, revision)
    assert store.migrate() == (revision, newest_revision())
    assert store.migrate() == (newest_revision(), newest_revision())
    store.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "collector.db")

    def interrupted() -> None:
        with store._database.write() as connection:
            upgrade(connection)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.revision() == ""
    assert store.migrate() == ("", newest_revision())
    store.close()


def test_a_database_of_a_newer_collector_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    store = SqliteStore(path)
    store.migrate()
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BadInput, match="9999"):
        store.migrate()
    store.close()
    with pytest.raises(BadInput, match="9999"):
        open_sqlite(path)


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"these are notes, and no database at all; " * 100)
    with pytest.raises(BadInput, match="not an SQLite database"):
        open_sqlite(path)
    assert path.read_bytes().startswith(b"these are notes")


def test_a_foreign_database_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE accounts (id INTEGER)")
    connection.close()
    with pytest.raises(BadInput, match="another program"):
        SqliteStore(path).migrate()


@pytest.mark.parametrize("table", tables.metadata.tables.values(), ids=lambda table: table.name)
def test_every_key_fits_a_database_that_is_sharded_by_device(table) -> None:
    """Citus wants the distribution column in every unique key; sequences and foreign keys do not fit it."""
    unique = [list(table.primary_key.columns)]
    unique += [list(index.columns) for index in table.indexes if index.unique]
    unique += [[column] for column in table.columns if column.unique]
    if table.name in tables.BY_DEVICE:
        assert all("device" in {column.name for column in key} for key in unique)
    else:
        assert "device" not in table.columns
    assert not table.foreign_keys
    assert table.primary_key.columns
    for column in table.columns:
        assert column.default is None
        assert table._autoincrement_column is None


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state" / "collector.db")
    store.migrate()
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    store.close()
