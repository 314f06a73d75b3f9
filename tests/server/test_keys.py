"""Keys and tokens over their lives: rejected, rotated, listed while they wait."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from support.collector import Device, Holder, refused, told

from envcheck.contract.document import encode
from envcheck.contract.keys import rotation_statement
from envcheck.contract.wire import EnrolmentAnswer, FleetAnswer, KeyRotation, ReportAnswer
from envcheck.errors import BadInput


def rotation(old: Device, new: Device, device: str = "", by: Device | None = None) -> bytes:
    statement = rotation_statement(device or old.name, (by or old).keyid, new.public)
    proof = base64.b64encode(new.private.sign(statement)).decode("ascii")
    return encode(KeyRotation(public_key=new.public, proof=proof))


def put_key(speaker: Device, body: bytes, device: str = "") -> Any:
    return speaker.send("PUT", f"/v1/devices/{device or speaker.name}/key", body)


def successor(old: Device) -> Device:
    return Device(old.http, old.name, epoch=old.epoch, seq=old.seq)


def test_the_old_key_makes_way_for_the_new_one_and_reports_go_on(collector) -> None:
    old = collector.device(labels={"line": "press"})
    old.report()
    new = successor(old)
    answer = told(put_key(old, rotation(old, new)), EnrolmentAnswer)
    assert answer == EnrolmentAnswer(device="press-07", state="accepted", epoch=1, labels={"line": "press"})
    assert "revoked" in refused(old.put_report(old.compose()), 403).message
    assert new.report().stored
    row = collector.services.store.devices.find("press-07")
    assert (row.epoch, row.seq, row.key_id) == (1, 2, new.keyid)
    assert list(collector.services.audit.entries())[-1].deed.details["key"] == new.keyid


def test_an_answer_that_got_lost_is_given_again_to_the_new_key(collector) -> None:
    old = collector.device()
    new = successor(old)
    body = rotation(old, new)
    first = told(put_key(old, body), EnrolmentAnswer)
    assert "revoked" in refused(put_key(old, body), 403).message
    assert told(put_key(new, body), EnrolmentAnswer) == first
    assert len(collector.services.store.devices.keys("press-07")) == 2


def test_a_new_key_without_the_old_ones_signature_only_waits(collector) -> None:
    old = collector.device()
    new = successor(old)
    assert "not known here" in refused(put_key(new, rotation(old, new)), 401).message
    assert new.enrol(collector.token(uses=1)).state == "pending"
    assert "waits for an operator" in refused(put_key(new, rotation(old, new)), 403).message
    assert old.report().stored


def test_a_rotation_needs_the_new_keys_own_proof(collector) -> None:
    old, other = collector.device("a"), collector.device("b")
    new = successor(old)
    bodies = {
        "not the new key's signature": [
            encode(KeyRotation(public_key=new.public, proof=base64.b64encode(b"x" * 64).decode())),
            rotation(old, new, device="b"),
            rotation(old, new, by=other),
        ],
        "not base64": [encode(KeyRotation(public_key=new.public, proof="%"))],
        "not a public key": [encode(KeyRotation(public_key="AAAA", proof=""))],
    }
    for said, sent in bodies.items():
        for body in sent:
            assert said in refused(put_key(old, body), 400).message
    assert "another device" in refused(put_key(old, rotation(old, new), device="b"), 403).message
    assert "known already" in refused(put_key(old, rotation(old, other)), 409).message
    assert old.report().stored


def test_a_key_that_was_given_up_never_comes_back(collector) -> None:
    first = collector.device()
    second, third = successor(first), successor(first)
    told(put_key(first, rotation(first, second)), EnrolmentAnswer)
    assert "known already" in refused(put_key(second, rotation(second, first)), 409).message
    told(put_key(second, rotation(second, third)), EnrolmentAnswer)
    third.seq = first.seq
    assert third.report().stored
    assert "revoked" in refused(first.ask_enrolment(collector.token(uses=1)), 403).message


@pytest.mark.parametrize("state", ["pending", "revoked", "quarantined"])
def test_who_is_not_accepted_gets_no_new_key(collector, state: str) -> None:
    if state == "pending":
        device = Device(collector.http)
        device.enrol(collector.token())
    else:
        device = collector.device()
    if state == "revoked":
        collector.services.enrolment.revoke(device.name)
    if state == "quarantined":
        device.report(hardware="aaaa")
        device.put_report(device.compose(hardware="bbbb"))
    assert refused(put_key(device, rotation(device, successor(device))), 403).hint


def test_a_key_that_waits_is_turned_away(collector) -> None:
    """Of a device that is known only that key; a device that has no other is turned away with it."""
    first = collector.device()
    second = Device(collector.http, "press-07")
    second.enrol(collector.token())
    assert collector.services.enrolment.reject("press-07") == second.keyid
    assert "revoked" in refused(second.put_report(second.compose()), 403).message
    assert "revoked" in refused(second.ask_enrolment(collector.token(uses=1)), 403).message
    assert first.report().stored
    stranger = Device(collector.http, "b")
    stranger.enrol(collector.token())
    collector.services.enrolment.reject("b", stranger.keyid[:6])
    assert collector.services.store.devices.find("b").state == "revoked"
    with pytest.raises(BadInput, match="no key that waits"):
        collector.services.enrolment.reject("press-07")


def test_devices_are_listed_by_their_state_with_the_keys_that_wait(collector) -> None:
    collector.device("a").report()
    Device(collector.http, "b").enrol(collector.token())
    collector.device("c")
    second = Device(collector.http, "c")
    second.enrol(collector.token())
    collector.device("d")
    collector.services.enrolment.revoke("d")
    gate = collector.holder("gate:read")

    def listed(query: str) -> dict[str, list[str]]:
        found = told(gate.send("GET", f"/v1/devices{query}"), FleetAnswer).devices
        return {one.device: one.waiting for one in found}

    assert listed("")["c"] == [second.keyid]
    assert set(listed("?state=pending")) == {"b", "c"}
    assert set(listed("?state=accepted")) == {"a", "c"}
    assert set(listed("?state=revoked")) == {"d"}
    assert listed("?state=quarantined") == {}
    assert "'sleeping'" in refused(gate.send("GET", "/v1/devices?state=sleeping"), 400).message


def test_a_rotated_token_takes_the_place_of_the_old_one(collector) -> None:
    tokens = collector.services.tokens
    old, made = tokens.create("gate:read", name="CI", expires_s=1000)
    new, successor = tokens.rotate(made.id)
    assert (successor.scope, successor.name, successor.expires_at) == ("gate:read", "CI", made.expires_at)
    assert "revoked" in refused(Holder(collector.http, old).send("GET", "/v1/releases"), 401).message
    assert Holder(collector.http, new).send("GET", "/v1/releases").status_code == 200
    with pytest.raises(BadInput, match="does not hold any more"):
        tokens.rotate(made.id)
    with pytest.raises(BadInput, match="no token"):
        tokens.rotate("nothing")


def test_the_old_token_holds_as_long_as_they_overlap(collector) -> None:
    tokens = collector.services.tokens
    old, made = tokens.create("gate:read")
    new, _ = tokens.rotate(made.id, overlap_s=60)
    both = [Holder(collector.http, one) for one in (old, new)]
    assert [one.send("GET", "/v1/releases").status_code for one in both] == [200, 200]
    collector.ahead[0] = 61
    assert [one.send("GET", "/v1/releases").status_code for one in both] == [401, 200]


def test_a_token_for_one_device_never_becomes_one_for_two(collector) -> None:
    tokens = collector.services.tokens
    old, made = tokens.create("enroll", uses=2, labels={"line": "press"})
    Device(collector.http, "a").enrol(old)
    new, successor = tokens.rotate(made.id, overlap_s=3600)
    assert (successor.uses, successor.used, successor.labels) == (2, 1, {"line": "press"})
    assert "revoked" in refused(Device(collector.http, "b").ask_enrolment(old), 401).message
    # The one that is left is no token for one device, which would accept at once.
    assert Device(collector.http, "b").enrol(new).state == "pending"
    with pytest.raises(BadInput, match="used up"):
        tokens.rotate(successor.id)


@pytest.mark.parametrize(
    "label",
    [
        "site=\x1b[31mred",
        "site=a b",
        "site=<script>",
        "site=\u202e",
        "site\n=a",
        "=a",
        "site",
        "a,b=c",
        "site=" + "x" * 64,
    ],
)
def test_hostile_labels_are_refused_at_the_command_line(collector, label: str) -> None:
    collector.device("press-07", labels={"line": "press"})
    from envcheck.contract.selector import parse_label

    with pytest.raises(BadInput, match="not a label") as caught:
        collector.services.enrolment.label("press-07", dict([parse_label(label)]))
    assert caught.value.hint
    assert json.dumps(collector.services.store.devices.find("press-07").labels) == '{"line": "press"}'


def test_a_revoked_device_is_out_with_its_next_request(collector) -> None:
    device = collector.device()
    report = device.compose()
    told(device.put_report(report), ReportAnswer)
    collector.services.enrolment.revoke("press-07")
    assert refused(device.put_report(report), 403)
    assert refused(put_key(device, rotation(device, successor(device))), 403)
