"""Enrolment: what a token gives, and that no key is ever silently replaced."""

from __future__ import annotations

from typing import Any

import pytest
from support.collector import Device, refused, told

from envcheck.contract.document import encode
from envcheck.contract.keys import generate_private_key
from envcheck.contract.wire import Enrolment, EnrolmentAnswer, ReportAnswer


def test_a_token_for_one_device_accepts_it_with_the_tokens_labels(collector) -> None:
    device = Device(collector.http)
    answer = device.enrol(collector.token(uses=1, labels={"line": "press"}), labels={"line": "boss"})
    assert answer == EnrolmentAnswer(device="press-07", state="accepted", epoch=1, labels={"line": "press"})


def test_a_token_for_many_leaves_devices_pending(collector) -> None:
    token = collector.token(uses=2, labels={"line": "press"})
    for name in ("a", "b"):
        assert Device(collector.http, name).enrol(token).state == "pending"
    problem = refused(Device(collector.http, "c").ask_enrolment(token), 403)
    assert "used up" in problem.message
    collector.services.enrolment.accept("a")
    assert collector.services.store.devices.find("a").labels == {"line": "press"}


def test_enrolling_again_with_the_same_key_changes_nothing(collector) -> None:
    token = collector.token(uses=1)
    device = Device(collector.http)
    first = device.enrol(token)
    device.report()
    assert device.enrol(token) == first
    other = collector.token(uses=1)
    assert device.enrol(other) == first
    assert Device(collector.http, "b").enrol(other).state == "accepted", "the token was not used"
    assert told(device.put_report(device.compose()), ReportAnswer).stored


def test_a_token_for_one_device_accepts_one_that_was_pending(collector) -> None:
    device = Device(collector.http)
    assert device.enrol(collector.token()).state == "pending"
    answer = device.enrol(collector.token(uses=1, labels={"line": "press"}))
    assert (answer.state, answer.epoch, answer.labels) == ("accepted", 1, {"line": "press"})
    assert device.report().stored


def test_a_second_key_waits_and_the_first_goes_on(collector) -> None:
    first = collector.device("press-07", labels={"line": "press"})
    second = Device(collector.http, "press-07")
    answer = second.enrol(collector.token(uses=1))
    assert (answer.state, answer.epoch, answer.labels) == ("pending", 2, {})
    assert "waits for an operator" in refused(second.put_report(second.compose()), 403).message
    assert first.report().stored

    collector.services.enrolment.accept("press-07")
    assert "revoked" in refused(first.put_report(first.compose()), 403).message
    assert second.report().stored
    device = collector.services.store.devices.find("press-07")
    assert (device.epoch, device.labels) == (2, {"line": "press"})


def test_of_several_waiting_keys_the_operator_names_one(collector) -> None:
    collector.device("press-07")
    waiting = [Device(collector.http, "press-07") for _ in range(2)]
    epochs = [one.enrol(collector.token()).epoch for one in waiting]
    assert epochs == [2, 3]
    accept = collector.services.enrolment.accept
    with pytest.raises(Exception, match="several keys that wait"):
        accept("press-07")
    assert accept("press-07", waiting[1].keyid[:8]).epoch == 3
    assert waiting[1].report().stored


def test_a_revoked_key_stays_out(collector) -> None:
    device = collector.device()
    collector.services.enrolment.revoke("press-07")
    assert "revoked" in refused(device.ask_enrolment(collector.token(uses=1)), 403).message
    # A new key of a device that was revoked is for an operator to accept.
    again = Device(collector.http, "press-07")
    assert again.enrol(collector.token(uses=1)).state == "pending"


def test_one_key_is_one_device(collector) -> None:
    device = collector.device("a")
    clone = Device(collector.http, "b", pem=device.pem)
    assert "another device" in refused(clone.ask_enrolment(collector.token(uses=1)), 409).message


def test_wrong_tokens_are_refused(collector) -> None:
    device = Device(collector.http)
    assert "not one of" in refused(device.ask_enrolment("guessed"), 401).message
    assert "enroll" in refused(device.ask_enrolment(collector.token("admin")), 403).hint
    short = collector.token(uses=1, expires_s=10)
    collector.ahead[0] = 11
    assert "expired" in refused(device.ask_enrolment(short), 401).message
    used = collector.token(uses=1)
    device.enrol(used)
    assert "used up" in refused(Device(collector.http, "b").ask_enrolment(used), 403).message
    assert collector.services.store.devices.find("b") is None


def test_a_device_enrols_only_a_key_that_it_holds(collector) -> None:
    device, victim = Device(collector.http), Device(collector.http)
    body = encode(Enrolment(token=collector.token(), device="a", public_key=victim.public))
    assert "not signed by the key" in refused(device.send("POST", "/v1/enroll", body), 401).message


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"device": "Press 07"}, "device"),
        ({"device": "../../etc"}, "device"),
        ({"device": ""}, "device"),
        ({"device": "a" * 64}, "device"),
        ({"labels": {"line": "\x1b[31m"}}, "labels"),
        ({"labels": {"line=": "press"}}, "labels"),
        ({"public_key": "not a key"}, "public key"),
        ({"hardware": "f" * 200}, "hardware"),
    ],
)
def test_what_does_not_fit_is_named(collector, fields: dict[str, Any], path: str) -> None:
    problem = refused(Device(collector.http).ask_enrolment(collector.token(), **fields), 400)
    assert path in problem.message


def test_a_clone_on_other_hardware_is_put_into_quarantine(collector) -> None:
    device = collector.device(pem=generate_private_key())
    device.report(hardware="aaaa")
    device.report()
    problem = refused(device.put_report(device.compose(hardware="bbbb")), 409)
    assert "other hardware" in problem.message
    assert "quarantine" in refused(device.put_report(device.compose(hardware="aaaa")), 403).message
    gate = collector.services.store.devices.find("press-07")
    assert gate.state == "quarantined"
    collector.services.enrolment.accept("press-07")
    assert device.report(hardware="bbbb").stored


def test_labels_are_the_operators(collector) -> None:
    collector.device(labels={"line": "press", "site": "berlin"})
    changed = collector.services.enrolment.label("press-07", {"site": "bonn"}, ("line",))
    assert changed.labels == {"site": "bonn"}
    with pytest.raises(Exception, match="not a label"):
        collector.services.enrolment.label("press-07", {"a b": "c"})
    with pytest.raises(Exception, match="no device"):
        collector.services.enrolment.label("press-08", {"site": "bonn"})
