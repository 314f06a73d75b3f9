"""The routes: what is sent, and which acknowledgements count."""

from __future__ import annotations

import gzip
from typing import Any

import msgspec
import pytest

from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.http_signature import read_signature
from envcheck.contract.keys import generate_private_key, is_signed_by, load_private_key, public_key_of
from envcheck.contract.wire import (
    Enrolment,
    EnrolmentAnswer,
    GateAnswer,
    GateQuestion,
    ObjectAnswer,
    Problem,
    ReportAnswer,
)
from envcheck.errors import Unreachable
from envcheck.transport.client import (
    ask_gate,
    has_bundle,
    send_bundle,
    send_enrolment,
    send_object,
    send_report,
)
from envcheck.transport.link import Link, Refused
from envcheck.transport.state import DeviceKey

BODY = b'{"some":"report"}'


def device_link(url: str) -> tuple[Link, str]:
    private = load_private_key(generate_private_key(), "test")
    key = DeviceKey(public_key=public_key_of(private), sign=private.sign)
    return Link(url, key.credentials(lambda: 1_700_000_000.9)), key.public_key


def test_a_report_is_signed_and_its_echo_checked(served: Any) -> None:
    served.says(body=encode(ReportAnswer(stored=digest(BODY), next_report_s=60)))
    link, public_key = device_link(served.url)
    assert send_report(link, "press-07", BODY).next_report_s == 60
    asked = served.asked[0]
    assert (asked.method, asked.path, asked.body) == ("PUT", "/v1/devices/press-07/report", BODY)
    signed = read_signature("PUT", asked.path, "", asked.body, asked.headers)
    assert is_signed_by(public_key, signed.signature, signed.base)
    assert signed.created == 1_700_000_000


@pytest.mark.parametrize("stored", ["", "0" * 64, digest(b"{}")])
def test_an_acknowledgement_of_other_bytes_is_none(served: Any, stored: str) -> None:
    served.says(body=encode(ReportAnswer(stored=stored)))
    with pytest.raises(Unreachable, match="other bytes"):
        send_report(Link(served.url), "press-07", BODY)


@pytest.mark.parametrize("data", [b"short", b"long " * 1000])
def test_objects_travel_under_the_digest_of_what_they_are_unpacked(served: Any, data: bytes) -> None:
    served.says(body=encode(ObjectAnswer(stored=digest(data), missing=["b" * 64])))
    link, _ = device_link(served.url)
    assert send_object(link, data).missing == ["b" * 64]
    asked = served.asked[0]
    assert asked.path == f"/v1/objects/{digest(data)}"
    packed = asked.headers.get("content-encoding") == "gzip"
    assert packed == (len(data) > 1024)
    assert (gzip.decompress(asked.body) if packed else asked.body) == data
    # Content-Digest covers the bytes as they travel (RFC 9530).
    read_signature("PUT", asked.path, "", asked.body, asked.headers)


def test_an_enrolment_answered_for_another_device_counts_for_nothing(served: Any) -> None:
    served.says(body=encode(EnrolmentAnswer(device="other", state="accepted", epoch=1)))
    with pytest.raises(Unreachable, match="other"):
        send_enrolment(Link(served.url), Enrolment(token="t", device="mine", public_key="k"))


def test_whether_the_collector_holds_a_bundle(served: Any) -> None:
    served.says(status=206, body=b"P", headers={"Content-Type": "application/octet-stream"})
    assert has_bundle(Link(served.url), "a" * 64)
    served.says(status=404, body=encode(Problem(message="no such bundle")))
    assert not has_bundle(Link(served.url), "a" * 64)
    served.says(status=403, body=encode(Problem(message="not with this token")))
    with pytest.raises(Refused, match="not with this token"):
        has_bundle(Link(served.url), "a" * 64)


def test_a_bundle_that_was_not_stored_is_not_taken_for_stored(served: Any) -> None:
    served.says(body=b'{"format":"envcheck.bundle-answer/1.0","stored":"%s","size":1}' % (b"0" * 64))
    with pytest.raises(Unreachable):
        send_bundle(Link(served.url), b"bundle", digest(b"bundle"))


QUESTION = GateQuestion(release="digits@1.3", cohort="line=press", min_ready=0.95, max_unknown=0.01)
ANSWER = GateAnswer(
    release="digits@1.3", cohort="line=press", outcome="pass", total=424, ready=412, blocked=9, unknown=3,
    min_ready=0.95, max_unknown=0.01,
)  # fmt: skip


def test_the_gate_is_asked_and_answers(served: Any) -> None:
    served.says(body=encode(ANSWER))
    assert ask_gate(Link(served.url), QUESTION) == ANSWER
    assert decode(served.asked[0].body, GateQuestion, "test") == QUESTION


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"release": "digits@1.4"}, "another release"),
        ({"cohort": ""}, "another cohort"),
        ({"min_ready": 0.5}, "other shares"),
        ({"total": 425}, "do not add up"),
        ({"ready": 402, "blocked": 19}, "does not allow|do not allow"),
        ({"blocked": 7, "unknown": 5}, "do not allow"),
        ({"total": 0, "ready": 0, "blocked": 0, "unknown": 0}, "do not allow"),
    ],
)
def test_an_answer_that_does_not_fit_the_question_lets_nothing_through(
    served: Any, wrong: dict[str, Any], said: str
) -> None:
    served.says(body=encode(msgspec.structs.replace(ANSWER, **wrong)))
    with pytest.raises(Unreachable, match=said):
        ask_gate(Link(served.url), QUESTION)


@pytest.mark.parametrize(("least", "most", "unknown"), [(1.0, 1.0, 0), (0.0, 0.0, 1)])
def test_one_of_a_billion_is_one_too_many(served: Any, least: float, most: float, unknown: int) -> None:
    question = GateQuestion(release="digits@1.3", min_ready=least, max_unknown=most)
    counts = {"total": 10**10, "ready": 10**10 - 1, "blocked": 1 - unknown, "unknown": unknown}
    answer = GateAnswer(
        release="digits@1.3", cohort="", outcome="pass", min_ready=least, max_unknown=most, **counts
    )
    served.says(body=encode(answer))
    with pytest.raises(Unreachable, match="do not allow"):
        ask_gate(Link(served.url), question)


def test_expected_devices_that_are_not_counted_let_nothing_through(served: Any) -> None:
    question = msgspec.structs.replace(QUESTION, expect=[f"d-{number}" for number in range(ANSWER.total + 1)])
    served.says(body=encode(ANSWER))
    with pytest.raises(Unreachable, match="expected"):
        ask_gate(Link(served.url), question)
