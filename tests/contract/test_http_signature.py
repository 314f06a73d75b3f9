"""A request's signature covers all that the request asks for, and is written as RFC 9421 says."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from envcheck.contract.http_signature import SignedRequest, content_digest, read_signature, sign_request
from envcheck.contract.keys import is_signed_by, key_id, public_key_of
from envcheck.errors import BadInput

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = public_key_of(KEY)
KEYID = key_id(PUBLIC)
REQUEST: dict[str, Any] = {
    "method": "PUT",
    "path": "/v1/devices/press-07/report",
    "query": "quick=1",
    "body": b'{"a":1}',
}

TARGET = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
        "path": TARGET.map("/{}".format),
        "query": TARGET,
        "body": st.binary(max_size=30),
    }
)


def signed(request: dict[str, Any], created: int = 1_700_000_000) -> dict[str, str]:
    headers = sign_request(**request, created=created, keyid=KEYID, sign=KEY.sign)
    return {name.lower(): value for name, value in headers.items()}


def accepted(request: dict[str, Any], headers: dict[str, str]) -> bool:
    """Tell whether a collector takes this request for one that the device signed."""
    try:
        found = read_signature(**request, headers=headers)
    except BadInput:
        return False
    return found.keyid == KEYID and is_signed_by(PUBLIC, found.signature, found.base)


@given(REQUESTS, st.integers(0, 10**12 - 1))
def test_a_signed_request_is_accepted(request: dict[str, Any], created: int) -> None:
    headers = signed(request, created)
    found = read_signature(**request, headers=headers)
    assert (found.keyid, found.created) == (KEYID, created)
    assert is_signed_by(PUBLIC, found.signature, found.base)


@given(REQUESTS, REQUESTS, st.sampled_from(["method", "path", "query", "body"]))
def test_no_part_may_change(request: dict[str, Any], other: dict[str, Any], part: str) -> None:
    assume(other[part] != request[part])
    assert not accepted({**request, part: other[part]}, signed(request))


@given(REQUESTS, REQUESTS)
def test_two_requests_never_have_one_base(request: dict[str, Any], other: dict[str, Any]) -> None:
    assume(request != other)
    bases = [read_signature(**one, headers=signed(one)).base for one in (request, other)]
    assert bases[0] != bases[1]


@given(st.data())
def test_no_byte_of_a_header_may_change(data: st.DataObject) -> None:
    headers = signed(REQUEST)
    name = data.draw(st.sampled_from(sorted(headers)))
    at = data.draw(st.integers(0, len(headers[name])))
    removed, inserted = data.draw(st.integers(0, 3)), data.draw(st.text(max_size=3))
    changed = headers[name][:at] + inserted + headers[name][at + removed :]
    assume(changed != headers[name])
    assert not accepted(REQUEST, {**headers, name: changed})


@pytest.mark.parametrize("name", ["signature-input", "signature", "content-digest"])
def test_no_header_may_be_missing(name: str) -> None:
    headers = signed(REQUEST)
    del headers[name]
    assert not accepted(REQUEST, headers)


def test_the_shape_is_that_of_rfc_9421() -> None:
    headers = sign_request(**REQUEST, created=1_700_000_000, keyid=KEYID, sign=KEY.sign)
    stated = base64.b64encode(hashlib.sha256(REQUEST["body"]).digest()).decode()
    parameters = (
        f'("@method" "@path" "@query" "content-digest");created=1700000000;keyid="{KEYID}";alg="ed25519"'
    )
    base = (
        '"@method": PUT\n'
        '"@path": /v1/devices/press-07/report\n'
        '"@query": ?quick=1\n'
        f'"content-digest": sha-256=:{stated}:\n'
        f'"@signature-params": {parameters}'
    )
    assert headers == {
        "Content-Digest": f"sha-256=:{stated}:",
        "Signature-Input": f"sig1={parameters}",
        "Signature": f"sig1=:{base64.b64encode(KEY.sign(base.encode())).decode()}:",
    }


def test_what_is_not_there_is_not_covered() -> None:
    headers = signed({**REQUEST, "query": "", "body": b""})
    assert headers["signature-input"].startswith('sig1=("@method" "@path");created=')
    assert "content-digest" not in headers


def test_the_digest_of_the_rfc() -> None:
    # RFC 9530, appendix B.1.
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def covering(names: str) -> dict[str, str]:
    """Headers of a request that is validly signed but covers only `names`."""
    parameters = f'({names});created=1700000000;keyid="{KEYID}";alg="ed25519"'
    known = {
        '"@method"': "PUT",
        '"@path"': REQUEST["path"],
        '"@query"': "?quick=1",
        '"content-digest"': content_digest(REQUEST["body"]),
    }
    lines = [f"{name}: {known.get(name, 'x')}" for name in names.split()]
    base = "\n".join([*lines, f'"@signature-params": {parameters}'])
    return {
        "content-digest": content_digest(REQUEST["body"]),
        "signature-input": f"sig1={parameters}",
        "signature": f"sig1=:{base64.b64encode(KEY.sign(base.encode())).decode()}:",
    }


def test_this_test_signs_as_the_profile_does() -> None:
    assert covering('"@method" "@path" "@query" "content-digest"') == signed(REQUEST)


@pytest.mark.parametrize(
    "names",
    [
        '"@path"',
        '"@method" "@path" "@query"',
        '"@method" "@path" "content-digest"',
        '"@method" "@query" "content-digest"',
        '"@path" "@query" "content-digest"',
        '"@path" "@method" "@query" "content-digest"',
        '"@method" "@path" "@query" "content-digest" "@authority"',
        '"@method" "@path" "@query" "content-digest" "content-digest"',
    ],
)
def test_a_request_that_covers_something_else_is_refused(names: str) -> None:
    with pytest.raises(BadInput, match="does not cover what it must"):
        read_signature(**REQUEST, headers=covering(names))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "GET\nX"),
        ("method", ""),
        ("method", "GÉT"),
        ("path", '/a\n"@query": ?b'),
        ("path", "/a b"),
        ("path", "/ä"),
        ("query", "a\r\nb"),
        ("query", "a\x00"),
        ("query", "\udc80"),
    ],
)
def test_what_could_break_the_lines_of_the_base_is_bad_input(field: str, value: str) -> None:
    request = {**REQUEST, field: value}
    headers = signed(REQUEST)
    if field == "query":
        assert not accepted(request, headers)
    with pytest.raises(BadInput, match="can't be signed"):
        read_signature(**request, headers=headers)
    with pytest.raises(BadInput, match="can't be signed"):
        signed(request)


@given(
    st.dictionaries(st.sampled_from(["signature", "signature-input", "content-digest"]), st.text(max_size=40))
)
def test_any_headers_are_bad_input(headers: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        read_signature(**REQUEST, headers=headers)


def test_digits_of_other_scripts_are_no_digits() -> None:
    headers = signed(REQUEST)
    headers["signature-input"] = headers["signature-input"].replace("1700000000", "١٧٠٠٠٠٠٠٠٠")
    with pytest.raises(BadInput):
        read_signature(**REQUEST, headers=headers)


def test_an_empty_path_is_a_slash_as_the_rfc_has_it() -> None:
    headers = signed({**REQUEST, "path": ""})
    assert accepted({**REQUEST, "path": "/"}, headers)


def test_the_value_is_whole() -> None:
    found = read_signature(**REQUEST, headers=signed(REQUEST))
    assert isinstance(found, SignedRequest)
    assert len(found.signature) == 64
