"""The audit log: every change leaves an entry in its own transaction, and a changed entry is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from support.collector import Device, make_bundle

from envcheck.cli import run_cli
from envcheck.errors import BadInput
from envcheck_server.cli import envcheck_server
from envcheck_server.store import tables
from envcheck_server.store.values import Deed

AUDIT = tables.audit


def entries(collector: Any) -> list[tuple[str, str, str]]:
    return [(one.deed.actor, one.deed.action, one.deed.target) for one in collector.services.audit.entries()]


def actions(collector: Any) -> list[str]:
    return [action for _, action, _ in entries(collector)]


def last(collector: Any) -> Deed:
    return list(collector.services.audit.entries())[-1].deed


def test_every_change_is_written_down_with_who_made_it(collector) -> None:
    services = collector.services
    secret, made = services.tokens.create("baseline:write", by="user:anna")
    assert entries(collector) == [("user:anna", "token.create", made.id)]
    ci = type(collector.holder("gate:read"))(collector.http, secret)
    before = len(entries(collector))
    ci.push(make_bundle())
    assert entries(collector)[before:] == [
        (f"token:{made.id}", "bundle.put", "digits@1.0"),
        (f"token:{made.id}", "release.push", "digits@1.0"),
    ]
    device = collector.device("press-07", labels={"line": "press"})
    assert (last(collector).actor, last(collector).action) == (f"key:{device.keyid}", "device.enrol")
    services.enrolment.label("press-07", {"site": "bonn"}, by="user:anna")
    assert last(collector).details == {"labels": "line=press,site=bonn"}
    second = Device(collector.http, "press-07")
    second.enrol(collector.token())
    services.enrolment.reject("press-07", by="user:anna")
    assert last(collector).details == {"key": second.keyid}
    services.enrolment.revoke("press-07", by="user:anna")
    services.releases.retire("digits@1.0", by="user:anna")
    services.tokens.revoke(made.id, by="user:anna")
    assert actions(collector)[-3:] == ["device.revoke", "release.retire", "token.revoke"]
    assert services.audit.verify().fault == ""


def test_labels_that_a_device_proposes_are_told(collector) -> None:
    device = Device(collector.http)
    device.enrol(collector.token(uses=2), labels={"site": "bonn", "line": "boss"})
    assert last(collector).details["labels"] == "line=boss,site=bonn"
    collector.device("press-08")
    assert "labels" not in last(collector).details


def test_what_changes_nothing_leaves_no_entry(collector) -> None:
    bundle = make_bundle()
    ci = collector.holder("baseline:write")
    ci.push(bundle)
    token = collector.token(uses=1)
    device = Device(collector.http)
    device.enrol(token)
    device.report()
    before = entries(collector)
    ci.push(bundle)
    device.enrol(token)
    device.report()
    assert entries(collector) == before


def test_a_clone_leaves_an_entry_with_its_quarantine(collector) -> None:
    device = collector.device()
    device.report(hardware="aaaa")
    device.put_report(device.compose(hardware="bbbb"))
    deed = last(collector)
    assert (deed.action, deed.target, deed.actor) == ("device.quarantine", "press-07", f"key:{device.keyid}")
    assert deed.details == {"why": "clone", "seq": device.seq, "hardware": "bbbb"}
    assert len([one for one in actions(collector) if one == "device.quarantine"]) == 1


def test_the_log_holds_no_secret(collector) -> None:
    secret, _ = collector.services.tokens.create("enroll", uses=1)
    device = Device(collector.http)
    device.enrol(secret)
    rotated, _ = collector.services.tokens.rotate(collector.services.tokens.create("gate:read")[1].id)
    told = json.dumps([[*entry, dict(last(collector).details)] for entry in entries(collector)])
    assert secret not in told
    assert rotated not in told
    for token in collector.services.store.tokens.all():
        assert token.secret_hash not in told


def test_a_change_that_fails_leaves_no_entry_and_one_without_entry_is_no_change(
    collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(collector)
    with pytest.raises(BadInput):
        collector.services.tokens.create("gate:read", uses=3)
    with pytest.raises(BadInput):
        collector.services.enrolment.revoke("nobody")
    store = collector.services.store

    def fail(_deeds: Any) -> None:
        raise ZeroDivisionError

    collector.device("press-07")
    monkeypatch.setattr(store.audit, "append", fail)
    with pytest.raises(ZeroDivisionError):
        collector.services.enrolment.revoke("press-07")
    with pytest.raises(ZeroDivisionError):
        collector.services.tokens.create("gate:read")
    monkeypatch.undo()
    assert store.devices.find("press-07").state == "accepted"
    assert {token.scope for token in store.tokens.all()} == {"enroll"}
    assert len(entries(collector)) == len(before) + 2


def tamper(store: Any, *statements: Any) -> None:
    with store._database.write() as connection:
        for statement in statements:
            connection.execute(statement)


def row(store: Any, number: int) -> dict[str, Any]:
    with store._database.read() as connection:
        return dict(connection.execute(select(AUDIT).where(AUDIT.c.number == number)).one()._mapping)


@pytest.fixture
def chain(collector, store) -> Any:
    """Six entries whose chain holds."""
    for number in range(6):
        collector.services.tokens.create("gate:read", name=f"token {number}")
    assert collector.services.audit.verify().fault == ""
    return store


@pytest.mark.parametrize(
    "changed",
    [
        {"actor": "user:nobody"},
        {"at": 0},
        {"action": "token.revoke"},
        {"target": "00000000"},
        {"details": "{}"},
        {"hash": "0" * 64},
    ],
)
def test_an_entry_that_was_edited_is_found(collector, chain, changed: dict[str, Any]) -> None:
    tamper(chain, update(AUDIT).where(AUDIT.c.number == 3).values(**changed))
    assert "entry 3 was changed" in collector.services.audit.verify().fault


@pytest.mark.parametrize("number", [1, 3, 6])
def test_an_entry_that_was_taken_out_is_found(collector, chain, number: int) -> None:
    tamper(chain, delete(AUDIT).where(AUDIT.c.number == number))
    fault = collector.services.audit.verify().fault
    assert fault == (
        "the log ends with entry 5, but there were 6" if number == 6 else f"entry {number} is missing"
    )


def test_entries_that_were_moved_up_are_found(collector, chain) -> None:
    tamper(chain, delete(AUDIT).where(AUDIT.c.number == 3))
    for number in (4, 5, 6):
        tamper(chain, update(AUDIT).where(AUDIT.c.number == number).values(number=number - 1))
    assert "entry 3 was changed, or one before it was taken out" in collector.services.audit.verify().fault


def test_a_whole_new_chain_is_found_by_who_noted_the_old_one(collector, chain) -> None:
    services = collector.services
    noted = services.audit.verify()
    known = f"{noted.number}:{noted.hash}"
    services.tokens.create("gate:read")
    assert services.audit.verify(known).fault == ""
    deeds = [entry.deed for entry in services.audit.entries()]
    tamper(chain, delete(AUDIT), update(tables.audit_head).values(number=0, hash=""))
    chain.audit.append([*deeds[:2], *deeds[3:], deeds[2]])
    assert services.audit.verify().fault == ""
    assert services.audit.verify(known).fault == "entry 6 is not the one that was seen before"
    assert "there were 99" in services.audit.verify(f"99:{'0' * 64}").fault
    for nonsense in ("6", "x:y", ":", "-1:a"):
        with pytest.raises(BadInput, match="names no entry"):
            services.audit.verify(nonsense)


def test_an_entry_that_was_put_in_is_found(collector, chain) -> None:
    forged = {**row(chain, 6), "number": 7}
    tamper(chain, insert(AUDIT).values(**forged))
    assert "entry 7 was changed" in collector.services.audit.verify().fault


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys) -> Any:
    monkeypatch.setenv("ENVCHECK_SERVER_DATABASE", str(tmp_path / "typed.db"))

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run_cli(envcheck_server, list(arguments))
        return code, capsys.readouterr().out

    assert call("migrate")[0] == 0
    return call


def test_the_commands_list_and_verify(ask, tmp_path) -> None:
    ask("token", "create", "--scope", "enroll", "--name", "line \x1b[2J 1", "--label", "line=press")
    ask("token", "create", "--scope", "gate:read")
    code, listed = ask("audit", "list")
    lines = listed.splitlines()
    assert (code, len(lines)) == (0, 2)
    assert "token.create" in lines[0]
    assert "user:" in lines[0]
    assert "labels=line=press" in lines[0]
    assert "\x1b" not in listed
    told = [json.loads(line) for line in ask("audit", "list", "--after", "1", "--json")[1].splitlines()]
    assert [(one["number"], one["details"]["scope"]) for one in told] == [(2, "gate:read")]
    code, verified = ask("audit", "verify")
    assert (code, verified.startswith("2 entries, none was changed")) == (0, True)
    known = verified.split()[-1]
    assert ask("audit", "verify", "--head", known)[0] == 0
    from envcheck_server.store.sqlite import open_sqlite

    store = open_sqlite(tmp_path / "typed.db")
    tamper(store, update(AUDIT).where(AUDIT.c.number == 1).values(actor="user:nobody"))
    store.close()
    code, verified = ask("audit", "verify")
    assert code == 1
    assert "tampered with: entry 1 was changed" in verified
