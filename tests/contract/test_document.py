"""Documents read back as they were written, and whatever else is read is refused with its place."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import JSON, document_kinds, documents

from envcheck.contract.bundle import Manifest
from envcheck.contract.canonical import MAX_DEPTH, canonical_json
from envcheck.contract.document import (
    Document,
    check_format,
    convert,
    decode,
    decode_any,
    document_digest,
    encode,
    encode_answer,
)
from envcheck.contract.evidence import Evidence, Smoke
from envcheck.contract.fingerprint import Fingerprint, SharedSection
from envcheck.contract.policy import Budget, Policy
from envcheck.contract.wire import GateQuestion, Problem, Report
from envcheck.errors import BadInput

KINDS = document_kinds()
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.FORMAT)


def refusal(data: bytes, kind: type[Document], source: str = "file.json") -> str:
    with pytest.raises(BadInput) as caught:
        decode(data, kind, source)
    return caught.value.message


def spelled(kind: type[Document], **fields: Any) -> bytes:
    return json.dumps({"format": kind.FORMAT, **fields}).encode()


def test_kinds_are_found_and_named_apart() -> None:
    assert len(KINDS) > 15
    assert {Evidence, Fingerprint, Policy, Manifest, Report} <= set(KINDS)
    assert len({kind.FORMAT for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert re.fullmatch(r"envcheck\.[a-z-]+/1\.[0-9]+", kind.FORMAT)
        assert "format" not in kind.__struct_fields__


@every_kind
@given(st.data())
def test_what_is_written_reads_back(kind: type[Document], data: st.DataObject) -> None:
    document = data.draw(documents(kind))
    written = encode(document)
    assert decode(written, kind, "here") == document
    assert encode(decode(written, kind, "here")) == written
    assert decode_any(written, tuple(KINDS), "here") == document  # type: ignore[type-var]


@every_kind
@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_bad_input(kind: type[Document], data: bytes) -> None:
    with suppress(BadInput):
        decode(data, kind, "here")


@every_kind
@given(st.data())
def test_a_changed_document_is_a_document_or_bad_input(kind: type[Document], data: st.DataObject) -> None:
    written = bytearray(encode(data.draw(documents(kind))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(written) - 1))
        written[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        found = decode(bytes(written), kind, "here")
    except BadInput:
        return
    # What was accepted can be written: nothing is found wrong only later.
    assert decode(encode(found), kind, "here") == found


@every_kind
@given(st.dictionaries(st.sampled_from(["a", "b"]), JSON, max_size=2), st.data())
def test_fields_of_any_type_are_refused_with_bad_input(
    kind: type[Document], more: dict[str, Any], data: st.DataObject
) -> None:
    fields = {name: data.draw(JSON) for name in kind.__struct_fields__}
    with suppress(BadInput):
        decode(canonical_json({"format": kind.FORMAT, **fields, **more}), kind, "here")


@every_kind
@given(st.data())
def test_a_document_cut_short_is_bad_input_at_every_byte(kind: type[Document], data: st.DataObject) -> None:
    written = encode(data.draw(documents(kind)))
    for end in range(len(written)):
        with pytest.raises(BadInput):
            decode(written[:end], kind, "here")


EVIDENCE = {"bundle": "b", "fingerprint": "f", "ending": {"status": "ok"}}
FINGERPRINT = {"captured_at": "", "agent": "", "digest": ""}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (
            Fingerprint,
            {**FINGERPRINT, "sections": {"python": {"status": "ok"}, "cpu": {"status": "well"}}},
            "sections.cpu.status: Invalid enum value 'well'",
        ),
        (
            Fingerprint,
            {**FINGERPRINT, "sections": {"cpu": 3}},
            "sections.cpu: Expected `object`, got `int`",
        ),
        (
            Evidence,
            {**EVIDENCE, "placement": {"nodes": {"A": {"Conv": 1}, "B.b": {"Conv": 1, "MatMul": "two"}}}},
            "placement.nodes.B.b.MatMul: Expected `int`, got `str`",
        ),
        (
            Evidence,
            {**EVIDENCE, "outputs": {"y": {"dtype": "float32", "decisions": {"total": None}}}},
            "outputs.y.decisions.total: Expected `int`, got `null`",
        ),
        (
            Evidence,
            {**EVIDENCE, "libraries": [{"name": "libc.so.6"}, {"build_id": "x"}]},
            "libraries[1]: Object missing required field `name`",
        ),
        (
            Smoke,
            {
                "release": "a@1",
                "measured_at": "",
                "evidence": {**EVIDENCE, "canaries": {"a": "b", "tf32": 1}},
            },
            "evidence.canaries.tf32: Expected `str`, got `int`",
        ),
        (Evidence, {"bundle": "b"}, "Object missing required field `fingerprint`"),
        (Evidence, {**EVIDENCE, "canaries": {"[...]": 1}}, "canaries.[...]: Expected `str`, got `int`"),
        (
            Evidence,
            {**EVIDENCE, "canaries": {"a - at `$.x": 1}},
            "canaries.a - at `$.x: Expected `str`, got `int`",
        ),
        (
            Policy,
            {"name": "p", "rules": [{"path": "a", "compare": "equal", "severity": "block"}, {"pat": "b"}]},
            "rules[1]: Object contains unknown field `pat`",
        ),
        (
            Policy,
            {"name": "p", "rules": [{"path": "a", "compare": "equal", "severity": "fatal"}]},
            "rules[0].severity: Invalid enum value 'fatal'",
        ),
        (GateQuestion, {"release": "a@1", "min_ready": -0.1}, "min_ready: Expected `float` >= 0.0"),
        (Report, {"epoch": -1, "seq": 1, "captured_at": "", "fingerprint": ""}, "epoch: Expected `int` >= 0"),
        (
            Report,
            {"epoch": 1, "seq": 1, "captured_at": "", "fingerprint": "", "readings": {"a": 1, "b": [1]}},
            "readings.b: Expected `bool | int | float | str`, got `array`",
        ),
        (
            Report,
            {"epoch": 1, "seq": 1, "captured_at": "", "fingerprint": "", "readings": {"a": 10**30}},
            "readings.a: an integer beyond 64 bits",
        ),
        (
            SharedSection,
            {"name": "cpu", "status": "ok", "facts": {"flags": [1, 2, {"n": -(10**20)}]}},
            "facts.flags[2].n: an integer beyond 64 bits",
        ),
    ],
)
def test_errors_name_the_path_by_its_real_keys(
    kind: type[Document], fields: dict[str, Any], message: str
) -> None:
    assert refusal(spelled(kind, **fields), kind) == f"file.json: {message}"


def test_the_culprit_is_named_among_many_in_a_large_document() -> None:
    nodes = {f"provider-{number}": {"Conv": 1} for number in range(50_000)}
    data = spelled(Evidence, **EVIDENCE, placement={"nodes": {**nodes, "last": {"Conv": "x"}}})
    assert refusal(data, Evidence) == "file.json: placement.nodes.last.Conv: Expected `int`, got `str`"


def test_an_error_is_short_whatever_the_document_holds() -> None:
    long = "x" * 100_000
    assert len(refusal(spelled(Evidence, **EVIDENCE, canaries={long: 1}), Evidence)) < 500
    assert len(refusal(spelled(Policy, name="p", rules=[], **{long: 1}), Policy)) < 500
    assert len(refusal(json.dumps({"format": long}).encode(), Evidence)) < 500
    assert len(refusal(json.dumps({"format": f"envcheck.{long}/1.0"}).encode(), Evidence)) < 500
    ending = {"status": long}
    assert len(refusal(spelled(Evidence, bundle="", fingerprint="", ending=ending), Evidence)) < 500


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{}", "missing required field `format`"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"format": 1}', "format: Expected `str`, got `int`"),
        (b'{"format": "envcheck.evidence/1.0"} x', "is not valid JSON"),
        (b'{"format": "envcheck.evidence/1.0", "x": "\xff"}', "byte 42 is not UTF-8"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        (b'{"format": "evidence"}', "`format` is 'evidence'"),
        (b'{"format": "envcheck.evidence/1"}', "`format` is 'envcheck.evidence/1'"),
        (b'{"format": "envcheck.smoke/1.0"}', "holds a smoke, not an evidence"),
        (b'{"format": "envcheck.evidence/\xd9\xa1.0"}', "`format` is"),
        (b'{"format": "envcheck.evidence/0.9"}', "holds an evidence of the old version 0.9"),
    ],
)
def test_what_is_no_document_of_this_kind(data: bytes, message: str) -> None:
    assert message in refusal(data, Evidence)


def test_a_newer_major_version_is_refused_with_the_way_out() -> None:
    data = spelled(Evidence, **EVIDENCE).replace(b"evidence/1.0", b"evidence/2.0")
    with pytest.raises(BadInput, match=r"evidence of version 2\.0; this envcheck reads up to 1\.x") as caught:
        decode(data, Evidence, "file.json")
    assert "upgrade" in caught.value.hint


def test_a_newer_minor_version_is_read_with_notice() -> None:
    notices: list[str] = []
    data = spelled(Evidence, **EVIDENCE, novelty={"a": [1]}).replace(b"evidence/1.0", b"evidence/1.7")
    assert decode(data, Evidence, "file.json", notices.append).bundle == "b"
    assert len(notices) == 1
    assert "file.json was written for a newer envcheck (evidence 1.7)" in notices[0]
    assert "ignored" in notices[0]
    assert decode(data, Evidence, "file.json") == decode(data, Evidence, "file.json", notices.append)


def test_a_newer_minor_policy_is_not_followed_in_part() -> None:
    notices: list[str] = []
    data = spelled(Policy, name="p", rules=[], novelty=1).replace(b"policy/1.0", b"policy/1.7")
    with pytest.raises(BadInput, match="unknown field `novelty`"):
        decode(data, Policy, "file.json", notices.append)
    assert "refused" in notices[0]


def test_own_and_older_minor_versions_come_without_notice() -> None:
    check_format(Evidence.FORMAT, Evidence, "x", pytest.fail)


def test_decode_any_chooses_by_format_and_names_what_it_wanted() -> None:
    assert isinstance(decode_any(spelled(Problem, message="m"), (Evidence, Problem), "x"), Problem)  # type: ignore[type-var]
    with pytest.raises(BadInput, match=r"x is of the kind 'envcheck\.problem/1\.0'") as caught:
        decode_any(spelled(Problem, message="m"), (Evidence, Smoke), "x")  # type: ignore[type-var]
    assert caught.value.hint == "wanted: envcheck.evidence/1.0 or envcheck.smoke/1.0"
    with pytest.raises(BadInput, match="version 2"):
        decode_any(b'{"format":"envcheck.problem/2.0"}', (Evidence, Problem), "x")  # type: ignore[type-var]


SECTION = b'{"format":"envcheck.section/1.0","name":"cpu","status":"ok","facts":{"a":%b}}'


def test_nesting_is_bounded_where_facts_are_opaque() -> None:
    inside = MAX_DEPTH - 2
    assert decode(SECTION % (b"[" * inside + b"]" * inside), SharedSection, "x").name == "cpu"
    for depth in (inside + 1, 900, 100_000, 2_000_000):
        for opening, closing in ((b"[", b"]"), (b'{"k":', b"}")):
            content = opening * depth + b"1" + closing * depth
            assert "nested" in refusal(SECTION % content, SharedSection)


def test_unknown_fields_may_not_be_nested_without_bound() -> None:
    deep = b'{"format":"envcheck.problem/1.0","message":"m","more":%b}' % (b"[" * 500_000 + b"]" * 500_000)
    assert "nested" in refusal(deep, Problem)


@pytest.mark.parametrize("digits", [20, 400, 5000, 10_000_000])
def test_huge_numbers_are_refused(digits: int) -> None:
    assert refusal(SECTION % (b"9" * digits), SharedSection)
    assert refusal(SECTION % (b"1." + b"9" * digits + b"e999"), SharedSection)
    assert refusal(b'{"format":"envcheck.report/1.0","epoch":%b}' % (b"9" * digits), Report)


def test_a_digest_in_a_document_is_not_mistaken_for_a_number() -> None:
    assert decode(SECTION % (b'"' + b"1" * 64 + b'"'), SharedSection, "x").facts == {"a": "1" * 64}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"p50_ms": float("nan")}, "p50_ms: nan is not a finite number"),
        ({"p50_ms": float("inf")}, "p50_ms: inf is not a finite number"),
        ({"p50_ms": "10"}, "p50_ms: Expected `float | null`, got `str`"),
        ({"p50": 10}, "Object contains unknown field `p50`"),
        ({1: 10}, "the key '1' is a int, not text (quote it)"),
        ([], "Expected `object`, got `array`"),
        (None, "Expected `object`, got `null`"),
    ],
)
def test_convert_refuses_what_json_could_not_hold_and_what_does_not_fit(value: Any, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        convert(value, Budget, "policy.yaml")
    assert caught.value.message == f"policy.yaml: {message}"


def test_equal_documents_have_equal_digests_however_they_were_spelled() -> None:
    terse = Policy(name="p", rules=[])
    wordy = decode(
        spelled(Policy, max_age="24h", rules=[], name="p", budget={}, evidence="required"), Policy, "x"
    )
    assert wordy == terse
    assert document_digest(wordy) == document_digest(terse)


@every_kind
@given(st.data())
def test_equal_documents_have_equal_bytes(kind: type[Document], data: st.DataObject) -> None:
    document = data.draw(documents(kind))
    copy = msgspec.convert(msgspec.to_builtins(document), kind)
    assert encode(copy) == encode(document)


@every_kind
@given(st.data())
def test_an_answer_reads_back_as_what_was_sent(kind: type[Document], data: st.DataObject) -> None:
    document = data.draw(documents(kind))
    answer = encode_answer(document)
    assert decode(answer, kind, "the answer") == document
    assert answer.isascii(), "escaped wherever it is shown"
