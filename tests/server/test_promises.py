"""What the collector promises and no answer of it shows: how it commits, what it keeps, what it writes."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, inspect, text
from support.store_rows import a_report, enrol, receive

from envcheck.cli import run_cli
from envcheck.errors import BadInput
from envcheck_server.cli import envcheck_server
from envcheck_server.store.common import SqlStore
from envcheck_server.store.opening import open_store
from envcheck_server.store.postgres_address import read_address


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_the_writer_logs_ahead_and_syncs_every_commit(store: SqlStore) -> None:
    with store._database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"


def everything(store: SqlStore) -> list[bytes]:
    """Every value of every row of every table that is in the database, as bytes."""
    with store._database.read() as connection:
        names = inspect(connection).get_table_names()
        rows = [row for name in names for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
    return [one if isinstance(one, bytes) else str(one).encode() for row in rows for one in row]


def test_of_a_token_nothing_is_kept_but_its_hash(collector, store: SqlStore) -> None:
    tokens = collector.services.tokens
    made = [
        tokens.create("enroll", uses=2, labels={"line": "press"}, name="a token"),
        tokens.create("gate:read", expires_s=3600),
        tokens.create("admin"),
    ]
    made += [tokens.rotate(token.id, overlap_s=0 if token.uses else 60) for _, token in made]
    assert collector.device().report().stored
    kept = everything(store)
    assert any(b"a token" in one for one in kept), "the rows of tokens are among them"
    for secret, _ in made:
        bare = secret.partition("_")[2].encode()
        assert len(bare) >= 32
        assert not [one for one in kept if bare in one]
    hashes = {one.id: one.secret_hash for one in store.tokens.all()}
    assert {token.id: hashes[token.id] for _, token in made} == {
        token.id: hashlib.sha256(secret.encode()).hexdigest() for secret, token in made
    }


SIGNS = st.sampled_from([*":/?=&%@[] \0\udc80", "host", "sslmode", "5432"])


@given(st.lists(SIGNS | st.text(max_size=3)))
def test_whatever_names_a_postgresql_is_an_address_or_refused(pieces: list[str]) -> None:
    found = ""
    with suppress(BadInput):
        found = read_address("postgresql://" + "".join(pieces)).name
    assert found == "" or found.startswith("the PostgreSQL database")


def test_an_address_in_another_encoding_is_refused() -> None:
    """As arguments and variables come that are not UTF-8."""
    with pytest.raises(BadInput, match="can't be read"):
        read_address("postgresql://caf\udce9/fleet")


@contextmanager
def statements_of(store: SqlStore) -> Iterator[list[str]]:
    """What is sent to the database for writing, as long as the block lasts; rows one by one count each."""
    sent: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        sent.extend([statement] * (len(parameters) if many else 1))

    event.listen(store._database.writer, "before_cursor_execute", note)
    yield sent
    event.remove(store._database.writer, "before_cursor_execute", note)


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_a_batch_takes_as_many_statements_as_one_report(store: SqlStore) -> None:
    names = [f"d-{number:03}" for number in range(200)]
    for name in names:
        enrol(store, name)
    with statements_of(store) as first:
        receive(store, a_report(names[0]))
    with statements_of(store) as whole:
        receive(store, *(a_report(name) for name in names[1:]))
    assert len(whole) <= len(first)
    with statements_of(store) as steady:
        answers = receive(store, *(a_report(name, 2, seen_at=1300, received_at=1301) for name in names))
    assert [one.receipt for one in answers] == ["stored"] * len(names)
    assert len(steady) < len(whole), "nothing new is stated"
    assert len([one for one in steady if one.split()[0] == "UPDATE"]) == 1


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_steady_reports_touch_no_index(place: str) -> None:
    """Their rows are updated in place (HOT): nothing that every report changes is indexed."""
    store = open_store(place)
    names = [f"d-{number:03}" for number in range(100)]
    for name in names:
        enrol(store, name)
    receive(store, *(a_report(name) for name in names))
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("VACUUM devices")
    store.close()
    before = _updates(place)
    store = open_store(place)
    for seq in range(2, 6):
        times = {"seen_at": seq, "received_at": seq, "clock_offset": seq}
        for pair in zip(names[:50], names[50:], strict=True):
            receive(store, *(a_report(name, seq, **times) for name in pair))
    store.close()
    total, hot = (now - then for now, then in zip(_updates(place), before, strict=True))
    assert total == 400
    # What finds no room on its page moves; an index on what changes would move them all.
    assert hot > 0.9 * total


def _updates(url: str) -> tuple[int, int]:
    """All updates of devices and those in place, once a closed connection's counts have come in."""
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'devices'"
    found, last = (-1, -1), (-2, -2)
    with psycopg.connect(url, autocommit=True) as connection:
        while found != last:
            time.sleep(0.1)
            row = connection.execute(query).fetchone()
            assert row is not None
            found, last = (row[0], row[1]), found
    return found


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_backup_while_reports_are_written_holds_what_was_acknowledged(place: Path, store: SqlStore) -> None:
    names = [f"d-{number:02}" for number in range(40)]
    for name in names:
        enrol(store, name)
    receive(store, *(a_report(name, 1) for name in names))
    acknowledged, done = [1], threading.Event()

    def report() -> None:
        while not done.is_set():
            seq = acknowledged[0] + 1
            receive(store, *(a_report(name, seq) for name in names))
            acknowledged[0] = seq

    reporting = threading.Thread(target=report)
    reporting.start()
    try:
        for number in range(3):
            copy = place.with_name(f"backup-{number}.db")
            before = acknowledged[0]
            assert run_cli(envcheck_server, ["db", "backup", str(copy), "--database", str(place)]) == 0
            after = acknowledged[0] + 1
            assert after > before + 1, "nothing was written meanwhile: this shows nothing"
            _check_copy(copy, names, before, after)
    finally:
        done.set()
        reporting.join()


def _check_copy(copy: Path, names: list[str], before: int, after: int) -> None:
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    saved = open_store(copy)
    found = {device.seq for device in map(saved.devices.find, names) if device is not None}
    saved.close()
    assert len(found) == 1, "a batch is in it whole or not at all"
    assert before <= found.pop() <= after
