"""`envcheck-server db`: copies, backups, counts and pruning of both kinds of database."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.store_rows import a_report, a_token, enrol, receive

from envcheck.errors import BadInput
from envcheck_server.cli import main
from envcheck_server.store import tables
from envcheck_server.store.common import SqlStore
from envcheck_server.store.copying import copy_store
from envcheck_server.store.opening import connect_store, open_store
from envcheck_server.store.values import Bundle, Deed, FindingsKey, HeldWaiver, Key, Release

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["envcheck-server", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = int(str(ended.value.code))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def fill(store: SqlStore) -> None:
    """Put something into every part of the store."""
    store.tokens.add(a_token(labels={"line": "press"}))
    for number in range(30):
        enrol(store, f"d-{number:02}")
    waits = Key("d-07", "another", "public", "pending", 2, "t1", "")
    store.devices.change("d-07", lambda device, _keys: (device, [waits]))
    receive(store, *(a_report(f"d-{number:02}") for number in range(20)))
    for number in range(20):
        store.objects.put(f"{number:064}", "section", bytes(range(256)) * number, [f"{number + 1:064}"], 20)
    data = random.Random(7).randbytes(2_500_000)
    store.releases.put_bundle(Bundle("b" * 64, len(data), "digits@1.0", "signer", b"\x00", b"\xff"), data, 30)
    release = Release("digits@1.0", "b" * 64, len(data), 1, b"{}", "p" * 64, "", 30)
    store.releases.put(release, lambda _current: release)
    store.releases.put_findings({FindingsKey("b" * 64, "f" * 64, "", "p", 1): b"[]"}, 40)
    store.audit.append([Deed(1, "me", "tested", "this", {"how": "well"})])
    store.waivers.change("w", lambda _held: HeldWaiver("w", "path", "", "reason", 99, 10, "me"))


def rows_of(store: SqlStore) -> dict[str, list[tuple[object, ...]]]:
    with store.reading() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for name, table in tables.metadata.tables.items()
        }


def test_a_copy_holds_every_row_of_the_other_database(
    place: Path | str, tmp_path: Path, empty_postgres: str, ask: Ask
) -> None:
    target = tmp_path / "copy.db" if isinstance(place, str) else empty_postgres
    with_rows = open_store(place)
    fill(with_rows)
    before = rows_of(with_rows)
    with_rows.close()
    assert all(before[name] for name in before if name not in ("expected", "preauthorised"))
    code, out, err = ask("db", "copy", place, target)
    assert (code, f"{sum(map(len, before.values()))} rows" in out) == (0, True), err
    assert "devices: 30 rows" in err
    copied = open_store(target if isinstance(target, Path) else str(target))
    assert rows_of(copied) == before
    assert receive(copied, a_report("d-00", 2))[0].receipt == "stored"
    assert copied.audit.head() == (1, before["audit"][0][-1])
    copied.close()
    code, _, err = ask("db", "copy", place, target)
    assert code == 2
    assert "is not empty" in err


def test_a_copy_that_fails_leaves_an_empty_target(place: Path | str, tmp_path: Path) -> None:
    source, target = open_store(place), connect_store(tmp_path / "other.db")
    fill(source)
    target.migrate()

    def interrupt(name: str, _count: int) -> None:
        if name == "changes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(source, target, interrupt)
    assert target.stats()["devices"] == 0
    copy_store(source, target, lambda _name, _count: None)
    assert target.stats()["devices"] == 30
    for store in (source, target):
        store.close()


def test_an_old_schema_is_not_copied(place: Path | str, tmp_path: Path) -> None:
    source, target = connect_store(tmp_path / "old.db"), open_store(place)
    with pytest.raises(BadInput, match="newest schema"):
        copy_store(source, target, lambda _name, _count: None)
    for store in (source, target):
        store.close()


def test_a_source_that_is_not_there_is_not_made(tmp_path: Path, ask: Ask) -> None:
    assert ask("db", "copy", tmp_path / "none.db", tmp_path / "to.db")[0] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_backup_beside_a_collector_is_a_whole_database(place: Path, store: SqlStore, ask: Ask) -> None:
    fill(store)
    copy = place.with_name("backup.db")
    code, out, _ = ask("db", "backup", copy, "--database", place)
    assert (code, f"{copy.stat().st_size:,} bytes" in out) == (0, True)
    assert copy.stat().st_mode & 0o077 == 0
    receive(store, a_report("d-01", 2))
    saved = open_store(copy)
    assert saved.devices.find("d-01").seq == 1  # type: ignore[union-attr]
    saved.close()
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    code, _, err = ask("db", "backup", copy, "--database", place)
    assert (code, "overwrites nothing" in err) == (2, True)
    code, _, err = ask("db", "backup", place.parent / "none" / "b.db", "--database", place)
    assert (code, "can't be written" in err) == (2, True)
    assert not [one for one in place.parent.iterdir() if one.name.startswith(".backup")]


def test_a_postgresql_is_backed_up_by_its_own_tool(ask: Ask) -> None:
    url = "postgresql://me:s3cret@db.example:6543/fleet"
    code, _, err = ask("db", "backup", "x y.dump", "--database", url)
    assert code == 2
    assert "pg_dump -Fc -h db.example -p 6543 -U me -d fleet -f 'x y.dump'" in err
    assert "s3cret" not in err


def test_sizes_are_told_by_table(place: Path | str, store: SqlStore, ask: Ask) -> None:
    fill(store)
    code, out, _ = ask("db", "stats", "--database", place, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["devices"], told["statements"]) == (30, 1)
    assert told["bytes_by_table"]["bundle_pieces"] > 2_000_000
    assert told["bytes"] >= sum(told["bytes_by_table"].values())
    assert told["bytes_per_device"] == round(sum(told["bytes_by_table"].values()) / 30)
    assert set(told["bytes_by_table"]) == set(tables.metadata.tables)
    _, out, _ = ask("db", "stats", "--database", place)
    assert "30 devices have 1 distinct environments" in out


def test_pruning_takes_ages_and_says_what_went(place: Path | str, store: SqlStore, ask: Ask) -> None:
    fill(store)
    pruning = ("db", "prune", "--database", place)
    code, out, _ = ask(*pruning, "--history", "30d", "--evidence", "7d", "--json")
    assert code == 0
    assert json.loads(out) == {
        "changes": 0,
        "statements": 0,
        "objects": 20,
        "findings": 1,
        "label_sets": 0,
    }
    assert "removed 0 changes" in ask(*pruning, "--history", "30d", "--evidence", "7d")[1]
    for ages in (("59m", "7d"), ("30d", "0s"), ("soon", "7d")):
        code, _, err = ask(*pruning, "--history", ages[0], "--evidence", ages[1])
        assert (code, "--history" in err or "--evidence" in err) == (2, True)
