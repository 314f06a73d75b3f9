"""The schema: what the revisions make is what the code expects, from every revision on."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from envcheck.contract.keys import generate_private_key, key_id, load_private_key, public_key_of
from envcheck.errors import BadInput
from envcheck_server.store import tables
from envcheck_server.store.migrate import _MIGRATIONS, newest_revision, upgrade
from envcheck_server.store.opening import connect_store
from envcheck_server.store.sqlite import SqliteStore, open_sqlite

REVISIONS = [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def test_the_revisions_make_the_tables_that_the_code_knows(store) -> None:
    with store._database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_any_revision_is_brought_up_to_date(empty_place: Path | str, revision: str) -> None:
    store = connect_store(empty_place)
    with store._database.write(alone=True) as connection:
        upgrade(connection, revision)
    assert store.migrate() == (revision, newest_revision())
    assert store.migrate() == (newest_revision(), newest_revision())
    store.close()


@pytest.mark.parametrize("number", [1, 2500])
def test_what_the_first_schema_held_is_there_after_the_upgrade(empty_place: Path | str, number: int) -> None:
    """Rows as the first collector wrote them, by hand: no code of today may do it."""
    store = connect_store(empty_place)
    names = [f"d-{one:05}" for one in range(number)]
    keys = sorted(key_id(public_key_of(load_private_key(generate_private_key(), "a key"))) for _ in range(2))
    results = {"b" * 64: {"measured_at": "2026-01-01T00:00:00Z", "peak_memory_mb": 1.5, "throttled": True}}
    with store._database.write(alone=True) as connection:
        upgrade(connection, "0001")
        for table, rows in first_rows(names, keys, json.dumps(results)).items():
            columns = ", ".join(rows[0])
            marks = ", ".join(f":{name}" for name in rows[0])
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), rows)
    assert store.migrate() == ("0001", newest_revision())
    assert [one.device for one in store.fleet.page(None, "", number + 1, revoked=True)] == names
    found = store.devices.find(names[0])
    assert found is not None
    assert (found.key_id, found.hardware, found.labels) == (keys[0], "ab" * 8, {"line": "press"})
    assert (found.seq, found.report, found.statement, found.clock_offset) == (7, "c" * 16, -5, -3)
    assert [(key.key_id, key.public_key, key.token) for key in store.devices.keys(names[0])] == [
        (keys[0], "AAAA", "5f0c21aa"),
        (keys[1], "not base64", "t1"),
    ]
    held = store.devices.find_by_key(keys[1])
    assert held is not None
    assert held[0].state == "pending"
    assert json.loads(store.fleet.readings(names[:1])[names[0]].results) == results
    counts = store.stats()
    assert (counts["devices"], counts["device_keys"], counts["changes"]) == (number, number, 2 * number)
    store.close()


def test_what_no_rule_foresaw_comes_through_the_upgrade(empty_place: Path | str) -> None:
    """Hardware that is no number, and a device whose key is not there."""
    store = connect_store(empty_place)
    rows = first_rows(["a", "b"], ["a1" * 16, "b2" * 16], "{}")
    for row in (*rows["devices"], *rows["device_keys"]):
        row["hardware"] = "a board of another kind"
    rows["device_keys"] = [row for row in rows["device_keys"] if row["device"] == "a"]
    with store._database.write(alone=True) as connection:
        upgrade(connection, "0001")
        for table, these in rows.items():
            columns = ", ".join(these[0])
            marks = ", ".join(f":{name}" for name in these[0])
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), these)
    store.migrate()
    assert [key.hardware for key in store.devices.keys("a")] == ["a board of anoth"] * 2
    assert [(key.key_id, key.public_key) for key in store.devices.keys("b")] == [("a1" * 16, "")]
    found = store.devices.find("b")
    assert found is not None
    assert (found.hardware, found.seq) == ("a board of anoth", 7)
    store.close()


def first_rows(names: list[str], keys: list[str], results: str) -> dict[str, list[dict[str, Any]]]:
    key = {"epoch": 1, "hardware": "ab" * 16, "labels": "{}", "created_at": 10}
    pairs = [(keys[0], "AAAA", 0, "5f0c21aa"), (keys[1], "not base64", 1, "t1")]
    moved = {"label_set": 1, "key_id": keys[0], "epoch": 1, "seq": 7, "report": b"\xcc" * 32, "statement": -5}
    times = {"seen_at": 20, "received_at": 21, "clock_offset": -3, "enrolled_at": 9, "state": 0}
    texts = {"hardware": "ab" * 16, "results": results, "readings": '{"a":1}'}
    return {
        "label_sets": [{"id": 1, "labels": '{"line":"press"}'}],
        "statements": [
            {"id": -5, "fingerprint": "f" * 64, "evidence": json.dumps({"b" * 64: "e" * 64})},
            {"id": 4, "fingerprint": "f" * 64, "evidence": "{}"},
        ],
        "devices": [{"device": name, **moved, **times, **texts} for name in names],
        "device_keys": [
            {"device": name, "key_id": one, "public_key": public, "state": state, "token": token, **key}
            for name in names
            for one, public, state, token in pairs
        ],
        "changes": [
            {"device": name, "epoch": 1, "seq": seq, "at": seq, "statement": statement}
            for name in names
            for seq, statement in ((1, 4), (7, -5))
        ],
    }


def test_two_that_migrate_at_once_do_it_once(empty_place: Path | str) -> None:
    """Processes of their own: what keeps them apart must be the database."""
    command = [sys.executable, "-m", "envcheck_server", "migrate", "--database", str(empty_place)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    told = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    lines = sorted(out.decode().partition("schema ")[2].strip() for out, _ in told)
    assert lines == [f"{newest_revision()} (was empty)", f"{newest_revision()}, as before"]


def test_a_migration_that_fails_leaves_nothing(empty_place: Path | str) -> None:
    store = connect_store(empty_place)

    def interrupted() -> None:
        with store._database.write(alone=True) as connection:
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
    written = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    if table.name in tables.BY_DEVICE:
        assert f"create_distributed_table('{table.name}', 'device'" in written
        assert all("device" in {column.name for column in key} for key in unique)
    else:
        assert f"create_reference_table('{table.name}')" in written
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
