"""The signature base of RFC 9421 for the one profile that devices use.

Covered: `@method`, `@path`, `@query` when there is one, and `content-digest` when there is a body;
parameters `created`, `keyid` and `alg="ed25519"`; label `sig1`. Scheme and authority are left out, so a
proxy that terminates TLS changes nothing. The profile is strict: a request that covers less is refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping

from envcheck.contract.document import Value
from envcheck.errors import BadInput

_INPUT = re.compile(
    r'sig1=\((?P<covered>"[a-z@-]+"(?: "[a-z@-]+")*)\)'
    r';created=(?P<created>[0-9]{1,12});keyid="(?P<keyid>[0-9a-f]{32})";alg="ed25519"'
)
_SIGNATURE = re.compile(r"sig1=:(?P<signature>[A-Za-z0-9+/]{86}==):")
# Visible ASCII: a line break in any of these would let one request's base be another's.
_METHOD = re.compile(r"[A-Za-z]{1,32}")
_UNSIGNED = "the request carries no signature of the kind that devices make"
_TARGET = re.compile(r"[!-~]*")


class SignedRequest(Value, frozen=True, kw_only=True):
    """What a request's signature headers claim: verify `signature` over `base` with the key `keyid`."""

    keyid: str
    created: int
    signature: bytes
    base: bytes


def content_digest(body: bytes) -> str:
    """Return the Content-Digest field of `body` (RFC 9530, sha-256)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def sign_request(
    method: str, path: str, query: str, body: bytes, created: int, keyid: str, sign: Callable[[bytes], bytes]
) -> dict[str, str]:
    """Return the header fields that sign this request; `path` and `query` are as sent, percent-encoded.

    `query` comes without its question mark; an empty one is not covered. Raises BadInput for a path or query
    that is not percent-encoded.
    """
    headers = {"Content-Digest": content_digest(body)} if body else {}
    covered = _covered(query, body)
    parameters = f'({" ".join(covered)});created={created};keyid="{keyid}";alg="ed25519"'
    base = _base(method, path, query, headers.get("Content-Digest", ""), covered, parameters)
    signature = base64.b64encode(sign(base)).decode("ascii")
    return {**headers, "Signature-Input": f"sig1={parameters}", "Signature": f"sig1=:{signature}:"}


def claimed_key(headers: Mapping[str, str]) -> str:
    """Return the id of the key that signed, as the headers claim; raises BadInput when they claim nothing.

    For a look at who asks before the body is there: nothing is verified.
    """
    found = _INPUT.fullmatch(headers.get("signature-input", ""))
    if found is None:
        raise BadInput(_UNSIGNED)
    return found.group("keyid")


def read_signature(
    method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
) -> SignedRequest:
    """Read the signature fields of a request; `headers` has lower-case names.

    `path` and `query` are as received: not decoded. Raises BadInput when fields are missing or malformed,
    when too little is covered, or when the body is not the one that was signed. Whether the signature
    verifies is for the caller, who knows the key.
    """
    found = _INPUT.fullmatch(headers.get("signature-input", ""))
    signature = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if found is None or signature is None:
        raise BadInput(_UNSIGNED)
    covered = found.group("covered").split(" ")
    if covered != _covered(query, body):
        raise BadInput("the request's signature does not cover what it must")
    stated = headers.get("content-digest", "") if body else ""
    if body and stated != content_digest(body):
        raise BadInput("the request's body is not the one that its Content-Digest names")
    parameters = headers["signature-input"].removeprefix("sig1=")
    return SignedRequest(
        keyid=found.group("keyid"),
        created=int(found.group("created")),
        signature=base64.b64decode(signature.group("signature"), validate=True),
        base=_base(method, path, query, stated, covered, parameters),
    )


def _covered(query: str, body: bytes) -> list[str]:
    names = ["@method", "@path"]
    if query:
        names.append("@query")
    if body:
        names.append("content-digest")
    return [f'"{name}"' for name in names]


def _base(method: str, path: str, query: str, stated: str, covered: list[str], parameters: str) -> bytes:
    if not (_METHOD.fullmatch(method) and _TARGET.fullmatch(path) and _TARGET.fullmatch(query)):
        raise BadInput(
            f"{method[:32]!r} {path[:200]!r} can't be signed: path and query must be percent-encoded"
        )
    values = {
        '"@method"': method.upper(),
        '"@path"': path or "/",
        '"@query"': f"?{query}",
        '"content-digest"': stated,
    }
    lines = [f"{name}: {values[name]}" for name in covered]
    lines.append(f'"@signature-params": {parameters}')
    return "\n".join(lines).encode("ascii")
