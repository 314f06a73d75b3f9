"""Signatures agree with http-message-signatures, another implementation of RFC 9421, in both directions."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.http_signature import content_digest, read_signature, sign_request
from envcheck.contract.keys import generate_private_key, is_signed_by, key_id, load_private_key, public_key_of

PRIVATE = load_private_key(generate_private_key(), "a test's key")
PUBLIC = public_key_of(PRIVATE)
KEYID = key_id(PUBLIC)
URL = "https://collector.example:8443"

paths = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._~", min_size=1, max_size=20).map(
    lambda text: f"/v1/devices/{text}x/report"
)
queries = st.sampled_from(["", "after=press-07", "selector=line%3Dpress&after="])
methods = st.sampled_from(["GET", "PUT", "POST"])
bodies = st.binary(max_size=200)


class Resolver(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> Any:
        assert key_id == KEYID
        return PRIVATE.public_key()

    def resolve_private_key(self, key_id: str) -> Any:
        assert key_id == KEYID
        # The package asks for PEM here, and for nothing but PEM.
        return PRIVATE.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def prepared(method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> Any:
    url = f"{URL}{path}?{query}" if query else URL + path
    return requests.Request(method, url, data=body, headers=headers).prepare()


def theirs_verifies(request: Any) -> set[str]:
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Resolver())
    (result,) = verifier.verify(request, body=request.body)
    return {name.strip('"') for name in result.covered_components}


@given(methods, paths, queries, bodies)
def test_ours_verifies_there(method: str, path: str, query: str, body: bytes) -> None:
    now = int(datetime.now(timezone.utc).timestamp())
    headers = sign_request(method, path, query, body, now, KEYID, PRIVATE.sign)
    covered = theirs_verifies(prepared(method, path, query, body, headers))
    assert {"@method", "@path"} <= covered
    assert ("@query" in covered, "content-digest" in covered) == (bool(query), bool(body))


@given(methods, paths, queries, bodies)
def test_theirs_verifies_here(method: str, path: str, query: str, body: bytes) -> None:
    headers = {"Content-Digest": content_digest(body)} if body else {}
    request = prepared(method, path, query, body, headers)
    covered = ["@method", "@path", *(["@query"] if query else []), *(["content-digest"] if body else [])]
    HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Resolver()).sign(
        request,
        key_id=KEYID,
        covered_component_ids=covered,
        label="sig1",
        body=body or None,
        use_existing_digest=bool(body),
    )
    lower = {name.lower(): value for name, value in request.headers.items()}
    signed = read_signature(method, path, query, body, lower)
    assert signed.keyid == KEYID
    assert is_signed_by(PUBLIC, signed.signature, signed.base)


@pytest.mark.parametrize("changed", ["method", "path", "digest"])
def test_what_was_changed_on_the_way_is_noticed_there(changed: str) -> None:
    now = int(datetime.now(timezone.utc).timestamp())
    body = b"body"
    headers = sign_request("PUT", "/v1/a", "", body, now, KEYID, PRIVATE.sign)
    method, path = "PUT", "/v1/a"
    if changed == "method":
        method = "POST"
    elif changed == "path":
        path = "/v1/b"
    else:
        headers["Content-Digest"] = content_digest(b"other")
    with pytest.raises(InvalidSignature):
        theirs_verifies(prepared(method, path, "", body, headers))
