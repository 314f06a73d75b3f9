"""What is PostgreSQL's own: addresses, what they are refused for, and several collectors at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url
from support.postgres import GUARDED, PASSWORD, Cluster

from envcheck.errors import BadInput
from envcheck_server.service.reports import judge_receipt
from envcheck_server.store.common import SqlStore
from envcheck_server.store.interface import StoreBusy, StoreFull
from envcheck_server.store.migrate import newest_revision
from envcheck_server.store.opening import connect_store, open_store
from envcheck_server.store.postgres_address import check_server, read_address
from envcheck_server.store.values import (
    Bundle,
    Device,
    EnrolmentFacts,
    EnrolmentPlan,
    Key,
    NewReport,
    Statement,
    Token,
)

SECRET = "s3cret-password"


@pytest.fixture
def stores(postgres: str) -> Iterator[list[SqlStore]]:
    """Several stores over one database, as several collectors have them."""
    made = [open_store(postgres) for _ in range(3)]
    yield made
    for one in made:
        one.close()


def with_user(url: str, user: str, password: str | None = None) -> str:
    return make_url(url).set(username=user, password=password).render_as_string(hide_password=False)


def test_an_address_is_told_without_its_password() -> None:
    for url in (
        f"postgresql://me:{SECRET}@db.example:6543/fleet",
        f"postgresql://me@db.example:6543/fleet?password={SECRET}",
    ):
        address = read_address(url)
        assert address.name == "the PostgreSQL database fleet at db.example:6543"
        assert SECRET not in repr(address)
    assert read_address("postgres:///fleet").name == "the PostgreSQL database fleet"


@pytest.mark.parametrize(
    "url",
    [f"postgresql://me:{SECRET}%zz@h/d", f"postgresql://h/d?{SECRET}=1", "postgresql://[::1/d"],
)
def test_a_url_that_can_not_be_read_is_refused_unrepeated(url: str) -> None:
    with pytest.raises(BadInput, match="can't be read") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)
    assert "postgresql://USER@HOST" in caught.value.hint


@pytest.mark.parametrize("password", ["wrong-" + SECRET, None])
def test_a_wrong_password_is_told(cluster: Cluster, postgres: str, password: str | None) -> None:
    if cluster.server is None:
        postgres = with_user(postgres, "nobody-of-this-name")
    with pytest.raises(BadInput) as caught:
        open_store(with_user(postgres, GUARDED, password))
    assert SECRET not in str(caught.value) + caught.value.hint
    assert caught.value.hint


def test_the_right_password_opens(cluster: Cluster, postgres: str) -> None:
    if cluster.server is not None:
        check_server(read_address(with_user(postgres, GUARDED, PASSWORD)))
    check_server(read_address(postgres))


def test_no_such_host_database_or_server_is_told(cluster: Cluster) -> None:
    with pytest.raises(BadInput, match="no such host"):
        open_store("postgresql://me@nowhere.invalid/fleet")
    with pytest.raises(BadInput, match="does not exist"):
        open_store(cluster.at("there_is_none_of_this_name"))
    with pytest.raises(StoreBusy, match=r"fleet at 127\.0\.0\.1:1 does not answer: .*refused"):
        open_store("postgresql://me@127.0.0.1:1/fleet")


def test_an_empty_database_and_an_old_one_are_refused_with_the_command(empty_postgres: str) -> None:
    with pytest.raises(BadInput, match="holds no collector's data") as caught:
        open_store(empty_postgres)
    assert caught.value.hint == "run: envcheck-server migrate"
    store = connect_store(empty_postgres)
    store.migrate()
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    store.close()
    with pytest.raises(BadInput, match=f"has the schema 0001; this .* needs {newest_revision()}"):
        open_store(empty_postgres)


def test_an_old_server_and_another_encoding_are_refused(cluster: Cluster, monkeypatch) -> None:
    cluster.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(BadInput, match="encoded in LATIN1"):
        open_store(cluster.at("latin"))
    cluster.drop(cluster.at("latin"))
    monkeypatch.setattr("envcheck_server.store.postgres_address._OLDEST", 99)
    with pytest.raises(BadInput, match="it takes 99 or newer"):
        open_store(cluster.url)


def test_a_commit_is_synced_whatever_the_server_says(cluster: Cluster, postgres: str) -> None:
    cluster.execute(f'ALTER DATABASE "{make_url(postgres).database}" SET synchronous_commit = off')
    store = open_store(postgres)
    with store._database.write() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    store.close()


def test_a_lost_connection_is_busy_and_the_next_works(cluster: Cluster, postgres: str) -> None:
    store = open_store(postgres)
    store.check()
    database = make_url(postgres).database
    cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    with pytest.raises(StoreBusy):
        store.check()
    store.check()
    store.close()


@pytest.mark.parametrize(
    ("code", "error"),
    [("53100", StoreFull), ("57P03", StoreBusy), ("25006", StoreBusy), ("40001", StoreBusy)],
)
def test_what_the_server_says_is_understood(postgres: str, code: str, error: type[Exception]) -> None:
    store = open_store(postgres)
    with pytest.raises(error), store._database.write() as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$")
    store.close()


def test_what_no_text_can_hold_is_bad_input(postgres: str) -> None:
    store = open_store(postgres)
    with pytest.raises(BadInput):
        store.fleet.page(None, "a\x00b", 1, revoked=True)
    store.close()


def a_key(device: str, number: int, epoch: int) -> Key:
    return Key(device, f"{number:032x}", "public", "accepted", epoch, "t1", "")


def enrol(store: SqlStore, name: str, number: int) -> None:
    def decide(facts: EnrolmentFacts) -> EnrolmentPlan:
        key = a_key(name, number, 1 + len(facts.keys))
        return EnrolmentPlan(key, Device(name, "accepted", {}, key.key_id, key.epoch, 10), use_token=True)

    store.devices.enrol(name, f"{number:032x}", "h1", decide)


def a_report(name: str, seq: int, statement: Statement, **changed: Any) -> NewReport:
    values: dict[str, Any] = {"report": f"{seq:064x}", "seen_at": 1, "received_at": 1, "clock_offset": 0}
    texts = {"hardware": "", "readings": "{}", "results": "{}"}
    return NewReport(
        device=name,
        key_id=f"{1:032x}",
        epoch=1,
        seq=seq,
        statement=statement,
        **{**values, **texts, **changed},
    )


def at_once(stores: list[SqlStore], times: int, work: Any) -> None:
    """Run `work(store, number)` as often at the same time, spread over the stores."""
    ready = threading.Barrier(times)

    def run(number: int) -> None:
        ready.wait(20)
        work(stores[number % len(stores)], number)

    with ThreadPoolExecutor(times) as pool:
        for one in [pool.submit(run, number) for number in range(times)]:
            one.result()


def test_enrolments_at_once_see_each_other(stores: list[SqlStore]) -> None:
    stores[0].tokens.add(Token("t1", "h1", "enroll", 10))
    at_once(stores, 12, lambda store, number: enrol(store, "press-07", number))
    assert sorted(key.epoch for key in stores[0].devices.keys("press-07")) == list(range(1, 13))
    token = stores[1].tokens.find("h1")
    assert token is not None
    assert token.used == 12


def test_batches_in_any_order_never_wait_in_a_circle(stores: list[SqlStore]) -> None:
    names = [f"d-{number:02}" for number in range(20)]
    for name in names:
        enrol(stores[0], name, 1)
    receipts: list[str] = []

    def work(store: SqlStore, number: int) -> None:
        ordered = names if number % 2 else names[::-1]
        for seq in range(1, 11):
            statements = [Statement(1000 * seq + place, "f" * 64, {}) for place in range(3)]
            batch = [a_report(name, seq, statements[place % 3]) for place, name in enumerate(ordered)]
            receipts.extend(one.receipt for one in store.reports.receive(batch, judge_receipt))

    at_once(stores, 6, work)
    assert receipts.count("stored") == 200, "each report counts once, whichever collector it came to"
    assert set(receipts) <= {"stored", "repeated", "older", "forked"}
    assert stores[0].stats()["statements"] == 30


def test_a_report_resent_to_several_collectors_is_one_row_and_one_answer(stores: list[SqlStore]) -> None:
    enrol(stores[0], "press-07", 1)
    report = a_report("press-07", 1, Statement(5, "f" * 64, {}))
    answers = []

    def work(store: SqlStore, number: int) -> None:
        answers.extend(store.reports.receive([report], judge_receipt))

    at_once(stores, 30, work)
    assert sorted(one.receipt for one in answers) == ["repeated"] * 29 + ["stored"]
    assert {tuple(one.missing) for one in answers} == {("f" * 64,)}
    assert stores[0].stats()["changes"] == 1


def test_a_change_of_a_device_is_not_lost_to_its_reports(stores: list[SqlStore]) -> None:
    enrol(stores[0], "press-07", 1)

    def work(store: SqlStore, number: int) -> None:
        if number % 2:
            for seq in range(10 * number, 10 * number + 10):
                store.reports.receive([a_report("press-07", seq, Statement(5, "f" * 64, {}))], judge_receipt)
            return

        def label(device: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
            from msgspec.structs import replace

            return replace(device, labels={**device.labels, f"label-{number}": "1"}), keys

        store.devices.change("press-07", label)

    at_once(stores, 12, work)
    found = stores[0].devices.find("press-07")
    assert found is not None
    assert len(found.labels) == 6
    assert found.seq == 119


def test_one_release_by_two_hands_is_one_revision_each(stores: list[SqlStore]) -> None:
    from msgspec.structs import replace

    from envcheck_server.store.values import Release

    bundle = Bundle("b" * 64, 5, "digits@1.0", "signer", b"", b"")
    at_once(stores, 6, lambda store, _: store.releases.put_bundle(bundle, b"bytes", 30))
    first = Release("digits@1.0", "b" * 64, 5, 1, b"{}", "p" * 64, "", 30)

    def push(store: SqlStore, number: int) -> None:
        store.releases.put(
            first,
            lambda current: first if current is None else replace(current, revision=current.revision + 1),
        )

    at_once(stores, 9, push)
    found = stores[0].releases.find("digits@1.0")
    assert found is not None
    assert found.revision == 9


def test_strangers_in_the_details_of_an_error_stay_there(postgres: str) -> None:
    """PostgreSQL quotes rows in the details of its errors."""
    with psycopg.connect(postgres) as connection, pytest.raises(psycopg.Error) as told:
        connection.execute("INSERT INTO tokens (id) VALUES ('what was sent')")
    assert "what was sent" in str(told.value), "otherwise the test of the store shows nothing"
