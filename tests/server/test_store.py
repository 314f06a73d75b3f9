"""What every store must do, whatever the database beneath: the contract of store/interface.py."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError
from support.store_rows import STATEMENT, a_report, a_token, enrol, receive

from envcheck_server.store import tables
from envcheck_server.store.interface import Store
from envcheck_server.store.values import (
    Bundle,
    Cuts,
    Device,
    EnrolmentFacts,
    EnrolmentPlan,
    FindingsKey,
    Key,
    NewReport,
    Release,
    report_name,
)

CUTS = Cuts(bundle="b" * 64, seen_before=500, seen_until=2000)


def test_tokens_are_kept_and_revoked_once(store: Store) -> None:
    tokens = [a_token(labels={"line": "press"}, uses=3, expires_at=99), a_token(id="t0", secret_hash="h0")]
    for token in tokens:
        store.tokens.add(token)
    assert store.tokens.find("h1") == tokens[0]
    assert store.tokens.find("h2") is None
    assert store.tokens.all() == [tokens[1], tokens[0]]
    assert store.tokens.revoke("t1", 50)
    assert store.tokens.revoke("t1", 60)
    assert not store.tokens.revoke("t2", 50)
    found = store.tokens.find("h1")
    assert found is not None
    assert found.revoked_at == 50


def test_enrolling_gives_the_facts_and_writes_the_plan(store: Store) -> None:
    store.tokens.add(a_token())
    seen: list[EnrolmentFacts] = []
    key = Key("a", "k1", "public", "pending", 1, "t1", "hw")
    device = Device("a", "pending", {"line": "press"}, "k1", 1, 10, hardware="hw")

    def decide(facts: EnrolmentFacts) -> EnrolmentPlan:
        seen.append(facts)
        return EnrolmentPlan(key, device)

    store.devices.enrol("a", "k1", "h1", decide)
    store.devices.enrol("b", "k1", "none", decide)
    assert (seen[0].token, seen[0].device, seen[0].keys, seen[0].holder) == (a_token(), None, [], None)
    assert (seen[1].token, seen[1].device, seen[1].holder) == (None, None, "a")
    assert store.devices.find("a") == device
    assert store.devices.find_by_key("k1") == (key, device)
    assert store.devices.keys("a") == [key]
    used = store.tokens.find("h1")
    assert used is not None
    assert used.used == 1


def test_a_plan_that_raises_writes_nothing(store: Store) -> None:
    store.tokens.add(a_token())

    def refuse(_facts: EnrolmentFacts) -> EnrolmentPlan:
        raise LookupError

    with pytest.raises(LookupError):
        store.devices.enrol("a", "k1", "h1", refuse)
    assert store.devices.find("a") is None
    enrol(store, "b")
    assert store.devices.find("b") is not None, "the store still works"


def test_a_change_replaces_device_and_keys(store: Store) -> None:
    enrol(store, "a")

    def revoke(device: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
        assert [key.key_id for key in keys] == ["key-a"]
        return Device("a", "revoked", {"new": "label"}, "key-a", 1, 10), []

    assert store.devices.change("a", revoke) == store.devices.find("a")
    assert store.devices.change("b", revoke) is None
    for labels, there in (({"new": "label"}, ["a"]), ({"line": "press"}, [])):
        chosen = store.fleet.select(labels.__eq__)
        assert [one.device for one in store.fleet.page(chosen, "", 9, revoked=True)] == there


def test_of_a_batch_each_report_sees_the_one_before(store: Store) -> None:
    enrol(store, "a")
    rows: list[Device | None] = []

    def judge(device: Device | None, new: NewReport) -> Any:
        rows.append(device)
        return "stored" if device is not None and new.seq > device.seq else "repeated"

    batch = [a_report("a", 1), a_report("a", 1), a_report("a", 2), a_report("nobody", 1)]
    received = store.reports.receive(batch, judge)
    assert [one.receipt for one in received] == ["stored", "repeated", "stored", "repeated"]
    assert [row.seq if row else None for row in rows] == [-1, 1, 1, None]
    found = store.devices.find("a")
    assert found is not None
    assert (found.seq, found.report, found.statement) == (2, report_name(f"{2:064x}"), -7)
    assert (found.seen_at, found.received_at, found.clock_offset) == (1000, 1001, -3)
    assert store.reports.statements([-7, 8]) == {-7: STATEMENT}
    assert store.stats()["changes"] == 1


def test_only_what_is_called_stored_is_stored(store: Store) -> None:
    enrol(store, "a")
    receive(store, a_report("a", 5), receipt="older")
    found = store.devices.find("a")
    assert found is not None
    assert found.seq == -1
    receive(store, a_report("a", 5), receipt="clone")
    found = store.devices.find("a")
    assert found is not None
    assert (found.seq, found.state) == (-1, "quarantined")


def test_missing_objects_are_named_until_they_are_there(store: Store) -> None:
    enrol(store, "a")
    assert receive(store, a_report("a", 1))[0].missing == ["e" * 64, "f" * 64]
    store.objects.put("f" * 64, "fingerprint", b"fingerprint", ["1" * 64, "2" * 64], 20)
    store.objects.put("f" * 64, "fingerprint", b"again", ["3" * 64], 21)
    store.objects.put("1" * 64, "section", b"one", [], 20)
    assert receive(store, a_report("a", 2))[0].missing == ["2" * 64, "3" * 64, "e" * 64]
    for name in ("2" * 64, "3" * 64, "e" * 64):
        store.objects.put(name, "section", name.encode(), [], 20)
    assert receive(store, a_report("a", 3))[0].missing == []
    assert store.objects.get(["f" * 64, "1" * 64, "9" * 64], "section") == {"1" * 64: b"one"}
    assert store.objects.get(["f" * 64], "fingerprint") == {"f" * 64: b"fingerprint"}
    assert store.objects.absent(["f" * 64, "9" * 64]) == ["9" * 64]


def a_release(**changed: Any) -> Release:
    values: dict[str, Any] = {
        "release": "digits@1.0",
        "bundle": "b" * 64,
        "size": 5,
        "revision": 1,
        "policy": b"{}",
        "policy_digest": "p" * 64,
        "selector": "",
        "created_at": 30,
    }
    return Release(**{**values, **changed})


def test_bundles_are_read_in_any_range(store: Store) -> None:
    data = bytes(range(256)) * 10_000
    bundle = Bundle("b" * 64, len(data), "digits@1.0", "signer", b"baseline", b"fingerprint")
    store.releases.put_bundle(bundle, data, 30)
    store.releases.put_bundle(bundle, data, 31)
    assert store.releases.bundle("b" * 64) == bundle
    assert store.releases.bundle("c" * 64) is None
    for start, stop in (
        (0, len(data)),
        (0, 1),
        (1024 * 1024 - 1, 1024 * 1024 + 1),
        (5, 5),
        (2_000_000, len(data)),
    ):
        assert b"".join(store.releases.read_bundle("b" * 64, start, stop)) == data[start:stop]


def test_releases_are_revised_by_plan(store: Store) -> None:
    bundle = Bundle("b" * 64, 5, "digits@1.0", "signer", b"", b"")
    store.releases.put_bundle(bundle, b"bytes", 30)
    first = a_release()
    assert store.releases.put(first, lambda current: first if current is None else None) == first
    assert store.releases.put(first, lambda _current: None) == first
    second = a_release(revision=2, selector="line=press")
    assert store.releases.put(second, lambda current: second if current == first else None) == second
    assert store.releases.find("digits@1.0") == second
    assert store.releases.find("digits@2.0") is None
    assert store.releases.all() == [second]
    enrol(store, "a")
    assert receive(store, a_report("a"))[0].releases == [second]


def test_findings_are_kept_by_all_that_they_depend_on(store: Store) -> None:
    keys = [
        FindingsKey("b" * 64, f"f{number}", evidence, "p", version)
        for number in range(300)
        for evidence in ("", "e")
        for version in (1, 2)
    ]
    store.releases.put_findings({key: repr(key).encode() for key in keys[::2]}, 40)
    found = store.releases.findings(keys)
    assert found == {key: repr(key).encode() for key in keys[::2]}
    assert store.releases.findings([]) == {}


def test_devices_are_counted_by_what_decides(store: Store) -> None:
    for name in ("a", "b", "c", "d"):
        enrol(store, name)
    enrol(store, "e", state="pending", labels={"line": "lab"})
    enrol(store, "f", state="revoked")
    receive(store, a_report("a"), a_report("b"), a_report("c", seen_at=499))
    whole = store.fleet.survey(None, CUTS, [])
    assert {(one.state, one.statement, one.count, one.first) for one in whole.groups} == {
        ("accepted", -7, 2, "a"),
        ("accepted", -7, 1, "c"),
        ("accepted", None, 1, "d"),
        ("pending", None, 1, "e"),
    }
    assert (whole.label_sets, whole.absent) == (None, [])
    assert {name: one.seen_at for name, one in whole.readings.items()} == {
        "a": 1000, "c": 499, "d": None, "e": None
    }  # fmt: skip
    receive(store, a_report("d", seen_at=2001))
    assert len(store.fleet.survey(None, CUTS, []).groups) == 4, (
        "a time that is yet to come is a side of its own"
    )
    press = store.fleet.survey({"line": "press"}.__eq__, CUTS, [])
    assert sum(one.count for one in press.groups) == 4
    assert store.fleet.survey(lambda _labels: False, CUTS, []).groups == []
    assert store.fleet.first(None, CUTS, whole.groups, 3) == ["a", "b", "c"]
    stale = [one for one in whole.groups if one.first == "c"]
    assert store.fleet.first(press.label_sets, CUTS, stale, 3) == ["c"]
    assert store.fleet.survey(None, CUTS, ["nobody", "a", "e", "f"]).absent == ["f", "nobody"]
    assert store.fleet.survey({"line": "press"}.__eq__, CUTS, ["a", "e"]).absent == ["e"]


def test_readings_and_pages(store: Store) -> None:
    for name in ("a", "b", "c"):
        enrol(store, name)
    enrol(store, "r", state="revoked")
    results = {"b" * 64: {"measured_at": "2026-01-01T00:00:00Z", "peak_memory_mb": 1.5, "throttled": False}}
    receive(store, a_report("b", results=json.dumps(results)))
    found = store.fleet.readings(["b", "a", "nobody"])
    assert json.loads(found["b"].results) == results
    assert (found["b"].seen_at, found["b"].labels) == (1000, {"line": "press"})
    assert (found["a"].results, found["a"].seen_at) == ("{}", None)
    assert set(found) == {"a", "b"}
    page = store.fleet.page(None, "", 2, revoked=True)
    assert [device.device for device in page] == ["a", "b"]
    assert [device.device for device in store.fleet.page(None, "b", 2, revoked=True)] == ["c", "r"]
    assert [device.device for device in store.fleet.page(None, "b", 2, revoked=False)] == ["c"]


def test_many_threads_read_and_write_at_once(store: Store) -> None:
    for number in range(8):
        enrol(store, f"d-{number}")

    def work(number: int) -> None:
        for seq in range(1, 20):
            receive(store, a_report(f"d-{number}", seq))
            assert store.devices.find(f"d-{number}") is not None
            store.fleet.survey(None, CUTS, [])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert {device.seq for device in store.fleet.page(None, "", 9, revoked=True)} == {19}


def test_a_store_that_can_be_written_is_ready(store: Store) -> None:
    store.check()
    assert store.stats()["bytes"] > 0


def test_the_writer_never_waits_for_those_who_read(store: Store) -> None:
    """A few slow questions must not keep a connection from whoever stores reports."""
    with contextlib.ExitStack() as slow:
        for _ in range(20):
            slow.enter_context(store._database.read()).exec_driver_sql("SELECT 1")
        assert store.objects.absent(["a" * 64]) == ["a" * 64]


def test_what_was_sent_is_not_in_the_databases_errors(store: Store) -> None:
    with pytest.raises(SQLAlchemyError) as caught, store._database.write() as connection:
        connection.execute(insert(tables.tokens), {"id": "what was sent", "name": "what was sent"})
    assert "what was sent" not in str(caught.value)
