"""Bad input: each refused with its status and a clear word, and nothing half-written."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import builders
from support.collector import evidence_of, make_bundle, refused, told
from support.documents import documents

from envcheck.contract import bundle as bundles
from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.document import decode_any, encode
from envcheck.contract.fingerprint import SectionDigests, SharedSection, fingerprint_objects
from envcheck.contract.http_signature import sign_request
from envcheck.contract.keys import generate_private_key, load_private_key
from envcheck.contract.policy import Policy, Rule
from envcheck.contract.wire import (
    BundleAnswer,
    Enrolment,
    GateQuestion,
    ObjectAnswer,
    ReleasePush,
    Report,
    ReportAnswer,
    Result,
)
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy
from envcheck_server.service import judgements, objects

REPORT = "/v1/devices/press-07/report"


@pytest.mark.parametrize(
    ("body", "told_of"),
    [
        (b"", "JSON"),
        (b"not json", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "object"),
        (b"{}", "format"),
        (b'{"format":"envcheck.gate-question/1.0","release":"a@1"}', "gate-question"),
        (b'{"format":"envcheck.report/2.0"}', "version"),
        (b'{"format":"envcheck.report/1.0"}', "epoch"),
        (b"[" * 10_000 + b"]" * 10_000, ""),
        (b'{"format":"envcheck.report/1.0","readings":' + b'{"a":' * 4000 + b"1" + b"}" * 4001, ""),
    ],
    ids=range(10),
)
def test_a_body_that_is_no_report_is_refused(collector, body: bytes, told_of: str) -> None:
    device = collector.device()
    assert told_of in refused(device.send("PUT", REPORT, body), 400).message


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"fingerprint": "A" * 64}, "fingerprint"),
        ({"fingerprint": "../../etc/passwd"}, "fingerprint"),
        ({"captured_at": "yesterday"}, "captured_at"),
        ({"captured_at": "2026-01-01T00:00:00"}, "captured_at"),
        ({"seq": -1}, "seq"),
        ({"seq": 2**63}, "seq"),
        ({"epoch": 2**40}, "epoch"),
        ({"hardware": "f" * 200}, "hardware"),
        ({"results": {"x": {"evidence": "a" * 64, "measured_at": "2026-01-01T00:00:00Z"}}}, "results"),
        ({"results": {"a" * 64: {"evidence": "x", "measured_at": "2026-01-01T00:00:00Z"}}}, "evidence"),
        ({"results": {"a" * 64: {"evidence": "a" * 64, "measured_at": "x"}}}, "measured_at"),
        ({"readings": {"a": {"b": 1}}}, "readings.a"),
    ],
)
def test_a_report_that_does_not_fit_is_told_where(collector, fields: dict, path: str) -> None:
    device = collector.device()
    body = json.loads(encode(device.compose())) | fields
    assert path in refused(device.send("PUT", REPORT, json.dumps(body).encode()), 400).message
    assert device.report().stored


@pytest.mark.parametrize("clock_error", [0, 86400, 10**11, -1_700_000_000])
@pytest.mark.parametrize("when", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_times_at_the_ends_of_time_take_the_gate_from_nobody(collector, when: str, clock_error: int) -> None:
    collector.holder("baseline:write").push(make_bundle())
    device = collector.device()
    report = device.compose(captured_at=when)
    device.clock_error = clock_error
    told(device.put_report(report), ReportAnswer)
    ask = collector.holder("gate:read")
    assert ask.gate().unknown == 1
    assert ask.send("GET", "/v1/devices?release=digits@1.0").status_code == 200


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_beyond_the_ends_of_time_are_refused(collector, when: str) -> None:
    device = collector.device()
    assert "captured_at" in refused(device.put_report(device.compose(captured_at=when)), 400).message
    result = {"a" * 64: Result(evidence="b" * 64, measured_at=when)}
    assert "measured_at" in refused(device.put_report(device.compose(results=result)), 400).message


def test_large_bodies_are_refused_announced_or_not(collector) -> None:
    device = collector.device()
    large = b"x" * (32 * 1024 + 1)
    assert refused(device.send("PUT", REPORT, large), 413).message
    signed = sign_request("PUT", REPORT, "", large, 0, device.keyid, device.private.sign)
    dripping = collector.http.request("PUT", REPORT, content=iter([large]), headers=signed)
    assert "content-length" not in dripping.request.headers
    assert refused(dripping, 413).message
    assert refused(device.send("GET", f"/v1/bundles/{'a' * 64}", b"a body"), 413).message


def test_a_gzip_bomb_does_not_unfold(collector) -> None:
    device = collector.device()
    bomb = b"\0" * (8 * 1024 * 1024)
    packed = gzip.compress(bomb)
    assert len(packed) < 64 * 1024
    answer = device.send("PUT", f"/v1/objects/{digest(bomb)}", packed, Content_Encoding="gzip")
    assert "decompressed" in refused(answer, 413).message


_GZIP = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("body", [b"not gzip", _GZIP[:-3], _GZIP + b"more"], ids=["text", "short", "long"])
def test_broken_gzip_is_refused(collector, body: bytes) -> None:
    answer = collector.device().send("PUT", f"/v1/objects/{'a' * 64}", body, Content_Encoding="gzip")
    assert "gzip" in refused(answer, 400).message


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused(collector, encoding: str) -> None:
    answer = collector.device().send("PUT", f"/v1/objects/{'a' * 64}", b"x", Content_Encoding=encoding)
    assert "encoding" in refused(answer, 400).message
    report = collector.device("other").send("PUT", "/v1/devices/other/report", b"x", Content_Encoding="gzip")
    assert "encoding" in refused(report, 400).message


def test_an_object_is_what_its_digest_says_or_nothing(collector) -> None:
    device = collector.device()
    data = fingerprint_objects(device.sections)[1][device.fingerprint.digest]
    assert "digest" in refused(device.put_object(data, "a" * 64), 400).message
    assert "digest" in refused(device.put_object(data, "A" * 64), 400).message
    for other in (b"{}", b"", encode(device.compose()), encode(builtin_policy("default"))):
        assert refused(device.put_object(other), 400).message
    assert collector.services.store.stats()["objects"] == 0
    assert told(device.put_object(data), ObjectAnswer).stored == device.fingerprint.digest
    assert told(device.put_object(data), ObjectAnswer).stored == device.fingerprint.digest


def test_nothing_is_parsed_whose_digest_is_wrong(collector, monkeypatch) -> None:
    """A parser is the last thing that bytes should reach which nobody vouched for."""
    parsed: list[bytes] = []

    def note(data: bytes, *rest):
        parsed.append(bytes(data))
        return decode_any(data, *rest)

    monkeypatch.setattr(objects, "decode_any", note)
    opened: list[str] = []
    read_bundle = bundles.read_bundle
    monkeypatch.setattr(
        bundles, "read_bundle", lambda *given: opened.append(digest(given[0])) or read_bundle(*given)
    )
    device, ci = collector.device(), collector.holder("baseline:write")
    data, bundle = fingerprint_objects(device.sections)[1][device.fingerprint.digest], make_bundle()
    for packed in (False, True):
        assert "digest" in refused(device.put_object(data, "a" * 64, packed=packed), 400).message
    assert "digest" in refused(ci.send("PUT", f"/v1/bundles/{'a' * 64}", bundle), 400).message
    assert (parsed, opened) == ([], [])
    told(device.put_object(data, packed=True), ObjectAnswer)
    told(ci.send("PUT", f"/v1/bundles/{digest(bundle)}", bundle), BundleAnswer)
    assert (parsed, opened) == ([data], [digest(bundle)])


def test_a_fingerprint_names_digests_and_not_too_many(collector) -> None:
    device = collector.device()
    wrong = encode(SectionDigests(sections={"cpu": "../cpu"}))
    assert "sections.cpu" in refused(device.put_object(wrong), 400).message
    many = encode(SectionDigests(sections={f"s{number}": "a" * 64 for number in range(100)}))
    assert "sections" in refused(device.put_object(many), 400).message


def test_facts_are_nested_only_so_far(collector) -> None:
    device = collector.device()
    shallow = encode(SharedSection(name="cpu", status="ok", facts={"a": 1}))
    for depth, status in ((20, 200), (400, 400)):
        nested = shallow.replace(b'{"a":1}', b'{"a":' * depth + b"1" + b"}" * depth)
        answer = device.put_object(nested)
        assert answer.status_code == status, answer.text


def test_facts_that_can_not_be_judged_are_unknown_and_harm_nobody_else(
    collector, monkeypatch, caplog
) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    healthy, sick = collector.device("a"), collector.device("b")
    sick.sections = builders.sections(memory=builders.sections()["cuda"])
    for device in (healthy, sick):
        device.report(evidence_of(device, bundle))

    def fragile(reference, device, evidence, policy):
        if device.digest == sick.fingerprint.digest:
            raise ZeroDivisionError("a fault of the judge")
        return judge(reference, device, evidence, policy)

    monkeypatch.setattr(judgements, "judge", fragile)
    answer = collector.holder("gate:read").gate()
    assert (answer.outcome, answer.ready, answer.unknown) == ("unknown", 1, 1)
    assert "could not be judged" in answer.groups[1].reason
    assert "a fault of the judge" in caplog.text
    assert "fault of the judge" not in answer.groups[1].reason
    monkeypatch.undo()
    assert collector.holder("gate:read").gate().outcome == "pass", "such an answer is not kept"


def test_digests_of_another_kind_of_object_prove_nothing(collector) -> None:
    """A device that states its evidence as its fingerprint, and the other way round, is unknown."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device()
    evidence = evidence_of(device, bundle)
    device.report(evidence)
    measured = digest(encode(evidence[digest(bundle)]))
    device.report(fingerprint=measured)
    gate = collector.holder("gate:read").gate()
    assert (gate.outcome, gate.unknown) == ("unknown", 1)
    result = json.loads(encode(device.compose(evidence)))
    result["results"][digest(bundle)]["evidence"] = device.fingerprint.digest
    told(device.send("PUT", REPORT, json.dumps(result).encode()), ReportAnswer)
    gate = collector.holder("gate:read").gate()
    assert (gate.outcome, gate.unknown) == ("unknown", 1)


def test_bundles_that_are_not_whole_are_refused(collector) -> None:
    ci = collector.holder("baseline:write")
    whole = make_bundle()
    opened = bundles.read_bundle(whole, "whole")
    key = load_private_key(generate_private_key(), "key")
    strange = bundles.build_bundle("other@1.0", opened.members, key)
    cases = {
        "truncated": whole[: len(whole) // 2],
        "not signed": make_bundle(signed=False),
        "manifest says": strange,
        "not an envcheck bundle": b"PK but no zip",
    }
    for word, data in cases.items():
        answer = ci.send("PUT", f"/v1/bundles/{digest(data)}", data)
        assert word in refused(answer, 400).message
    assert "digest" in refused(ci.send("PUT", f"/v1/bundles/{'a' * 64}", whole), 400).message
    assert collector.services.store.stats()["bundles"] == 0
    told(ci.send("PUT", f"/v1/bundles/{digest(whole)}", whole), BundleAnswer)
    told(ci.send("PUT", f"/v1/bundles/{digest(whole)}", whole), BundleAnswer)


def test_releases_that_make_no_sense_are_refused(collector) -> None:
    ci = collector.holder("baseline:write")
    bundle, other = make_bundle(), make_bundle(samples=7)
    assert "no such bundle" in refused(ci.release("digits@1.0", digest(bundle)), 404).message
    ci.push(bundle, selector="line=press")
    told(ci.send("PUT", f"/v1/bundles/{digest(other)}", other), BundleAnswer)
    problem = refused(ci.release("digits@1.0", digest(other)), 409)
    assert "another bundle" in problem.message
    assert "version" in problem.hint
    assert "not digits@2.0" in refused(ci.release("digits@2.0", digest(bundle)), 400).message
    assert "not a release" in refused(ci.release("Digits", digest(bundle)), 400).message
    answer = ci.release("digits@1.0", digest(bundle), selector="line=press,,")
    assert "character 12" in refused(answer, 400).message
    rule = Rule(path="python.version", compare="guess", severity="block")
    answer = ci.release("digits@1.0", digest(bundle), Policy(name="mine", rules=[rule]))
    assert "rules[0].compare" in refused(answer, 400).message
    held = builtin_policy("default").rules
    answer = ci.release("digits@1.0", digest(bundle), Policy(name="mine", rules=held, max_age="999999999w"))
    assert "max_age" in refused(answer, 400).message
    push = json.loads(encode(ReleasePush(bundle=digest(bundle), policy=builtin_policy("default"))))
    push["policy"]["rules"][1]["colour"] = "red"
    answer = ci.send("PUT", "/v1/releases/digits@1.0", canonical_json(push))
    assert "colour" in refused(answer, 400).message
    assert collector.services.store.stats()["revisions"] == 1


def test_an_unknown_release_is_answered_with_names_that_are_close(collector) -> None:
    gate = collector.holder("gate:read")
    assert "envcheck push" in refused(gate.ask_gate("digits@1.0"), 404).hint
    collector.holder("baseline:write").push(make_bundle())
    assert "digits@1.0" in refused(gate.ask_gate("digit@1.1"), 404).hint
    assert "digits@1.0" in refused(gate.send("GET", "/v1/devices?release=digits@1.O"), 404).hint


@pytest.mark.parametrize(
    ("fields", "told_of"),
    [
        ({"min_ready": 1.5}, "min_ready"),
        ({"max_unknown": -0.1}, "max_unknown"),
        ({"max_age_s": -1}, "max_age_s"),
        ({"cohort": "line in (press"}, "character"),
        ({"expect": ["Press 07"]}, "expect"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(collector, fields: dict, told_of: str) -> None:
    collector.holder("baseline:write").push(make_bundle())
    gate = collector.holder("gate:read")
    body = json.loads(encode(GateQuestion(release="digits@1.0"))) | fields
    assert told_of in refused(gate.send("POST", "/v1/gate", json.dumps(body).encode()), 400).message


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/devices/press-07", "/v2/gate", "/v1/objects/"])
def test_unknown_routes_and_methods_have_the_same_shape(collector, path: str) -> None:
    assert refused(collector.http.request("GET", path), 404).message
    assert refused(collector.http.request("DELETE", "/v1/gate"), 405).message


@pytest.mark.parametrize("kind", [Report, Enrolment])
def test_no_document_of_a_device_breaks_the_collector(collector, kind: type) -> None:
    device = collector.device()
    path, method = (REPORT, "PUT") if kind is Report else ("/v1/enroll", "POST")

    @given(documents(kind))
    @settings(suppress_health_check=[HealthCheck.too_slow])
    def send(document) -> None:
        answer = device.send(method, path, encode(document))
        assert answer.status_code in (200, 400, 401, 403, 409), answer.text

    send()
    assert device.report().stored


@pytest.mark.parametrize("kind", [GateQuestion, ReleasePush])
def test_no_document_of_a_tokens_bearer_breaks_the_collector(collector, kind: type) -> None:
    collector.holder("baseline:write").push(make_bundle())
    holder = collector.holder("admin")
    path, method = ("/v1/gate", "POST") if kind is GateQuestion else ("/v1/releases/digits@1.0", "PUT")

    @given(documents(kind))
    @settings(suppress_health_check=[HealthCheck.too_slow])
    def send(document) -> None:
        answer = holder.send(method, path, encode(document))
        assert answer.status_code in (200, 400, 404), answer.text

    send()


def test_no_bytes_break_the_collector(collector) -> None:
    device = collector.device()

    @given(st.binary(max_size=300), st.sampled_from(["", "gzip"]))
    def send(body: bytes, encoding: str) -> None:
        headers = {"Content_Encoding": encoding} if encoding else {}
        answer = device.send("PUT", f"/v1/objects/{digest(body)}", body, **headers)
        assert answer.status_code == 400, answer.text
        assert device.send("PUT", REPORT, body).status_code == 400

    send()


def test_strings_of_devices_come_back_as_they_are_and_escaped(collector) -> None:
    nasty = "\x1b]0;owned\x07<script>alert(1)</script>\u202e"
    sections = builders.sections()
    sections["python"] = type(sections["python"])(status="ok", shared={"version": nasty})
    device = collector.device(sections=sections)
    device.report(readings={"note": nasty})
    answer = collector.holder("gate:read").send("GET", "/v1/devices")
    assert answer.json()["devices"][0]["python"] == nasty
    assert answer.content.isascii()
    assert b"\x1b" not in answer.content
    assert answer.headers["content-type"] == "application/json"


def test_faults_of_the_collector_are_told_to_nobody(collector, monkeypatch, caplog) -> None:
    def broken() -> list:
        raise RuntimeError("the secret insides")

    monkeypatch.setattr(collector.services.releases, "all", broken)
    problem = refused(collector.holder("gate:read").send("GET", "/v1/releases"), 500)
    assert "insides" not in problem.message + problem.hint
    assert "the secret insides" in caplog.text
