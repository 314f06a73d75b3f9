"""The collector's check of signatures beside OpenSSL's, with which devices sign."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from support.collector import Device, refused

from envcheck.contract.keys import is_signed_by as is_signed_by_openssl
from envcheck.contract.keys import key_id
from envcheck_server.service.signatures import is_signed_by, raw_key

# The neutral element of the curve: R and A are it, S is zero. It "signs" every message.
NEUTRAL = bytes([1]) + bytes(31)
FORGED = NEUTRAL + bytes(32)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=2000))
def test_what_a_device_signed_holds(seed: bytes, message: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    raw = key.public_key().public_bytes_raw()
    assert is_signed_by(raw, key.sign(message), message)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511), st.integers(0, 255))
def test_one_bit_that_differs_in_signature_or_key_is_refused(
    seed: bytes, message: bytes, bit: int, key_bit: int
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    raw, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert not is_signed_by(raw, _flipped(signature, bit), message)
    assert not is_signed_by(_flipped(raw, key_bit), signature, message)
    assert not is_signed_by(raw, signature, message + b"x")


@pytest.mark.parametrize("length", [0, 15, 63, 65, 127])
def test_a_signature_or_key_of_another_length_is_refused(length: int) -> None:
    key = Ed25519PrivateKey.generate()
    raw, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    assert not is_signed_by(raw, (signature * 2)[:length], b"m")
    assert not is_signed_by((raw * 4)[: length + 1], signature, b"m")


def test_a_key_for_which_anybody_can_sign_is_not_enrolled(collector) -> None:
    public = base64.b64encode(NEUTRAL).decode()
    assert raw_key(public) == NEUTRAL
    assert is_signed_by_openssl(public, FORGED, b"whatever")
    assert not is_signed_by(NEUTRAL, FORGED, b"whatever")
    device = Device(collector.http)
    device.public, device.keyid, device.private = public, key_id(public), _Anybody()
    problem = refused(device.ask_enrolment(collector.token()), 401)
    assert "not signed by the key that it enrols" in problem.message


class _Anybody:
    def sign(self, _message: bytes) -> bytes:
        return FORGED


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
