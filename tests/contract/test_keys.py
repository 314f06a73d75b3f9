"""Keys read back; what is no key is refused without a word of what was in the file."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.keys import (
    generate_private_key,
    is_one_of,
    is_signed_by,
    key_id,
    load_private_key,
    load_public_key,
    public_key_of,
)
from envcheck.errors import BadInput

# RFC 8032, 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def pem(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_key_reads_back() -> None:
    written = generate_private_key()
    assert written.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    key = load_private_key(written, "key")
    assert pem(key) == written
    assert (
        load_public_key(public_key_of(key), "public").public_bytes_raw()
        == key.public_key().public_bytes_raw()
    )


def test_every_key_is_another() -> None:
    assert len({generate_private_key() for _ in range(20)}) == 20


def test_the_vectors_of_rfc_8032() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    assert public_key_of(key) == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    assert is_signed_by(PUBLIC, SIGNATURE, b"\x72")
    assert key_id(PUBLIC) == hashlib.sha256(base64.b64decode(PUBLIC)).hexdigest()[:32]


@given(st.binary(max_size=70), st.binary(max_size=20))
def test_nothing_else_is_a_signature(signature: bytes, message: bytes) -> None:
    assert not is_signed_by(PUBLIC, signature, message)


def test_a_signature_with_a_second_spelling_of_its_number_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    number = int.from_bytes(SIGNATURE[32:], "little") + order
    assert not is_signed_by(PUBLIC, SIGNATURE[:32] + number.to_bytes(32, "little"), b"\x72")


def made(name: str) -> PrivateKeyTypes:
    if name == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ed448.Ed448PrivateKey.generate() if name == "ed448" else ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("name", ["rsa", "ec", "ed448"])
def test_keys_of_another_kind(name: str) -> None:
    with pytest.raises(BadInput, match=f"{name} is a private key of another kind than Ed25519"):
        load_private_key(pem(made(name)), name)


def spoiled() -> dict[str, bytes]:
    key = Ed25519PrivateKey.generate()
    good = pem(key)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "encrypted": pem(key, b"password"),
        "public": public,
        "empty": b"",
        "text": b"hunter2, the secret",
        "binary": bytes(range(256)),
        "der": key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "cut": good[: len(good) // 2],
        "garbled": good.replace(b"MC4", b"AAA"),
        "certificate": good.replace(b"PRIVATE KEY", b"CERTIFICATE"),
    }


@pytest.mark.parametrize("name", spoiled())
def test_what_is_no_key_is_named_and_not_shown(name: str) -> None:
    text = spoiled()[name]
    with pytest.raises(BadInput) as caught:
        load_private_key(text, "/etc/envcheck/release.pem")
    said = f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"
    assert "/etc/envcheck/release.pem is not an unencrypted private key in PEM form" in said
    assert "envcheck key create" in said
    assert caught.value.__suppress_context__
    for line in text.decode("latin-1").split("\n"):
        assert len(line) < 8 or line not in said


@given(st.binary(max_size=100), st.integers(0, 118), st.integers(0, 4))
def test_any_bytes_are_a_key_or_bad_input(extra: bytes, at: int, removed: int) -> None:
    good = generate_private_key()
    for text in (extra, good[:at] + extra + good[at + removed :]):
        try:
            load_private_key(text, "key")
        except BadInput as error:
            said = error.message + error.hint
            assert said.startswith("key is")


@given(st.text(max_size=60))
def test_any_text_is_a_public_key_or_bad_input(text: str) -> None:
    for door in (lambda: load_public_key(text, "the key"), lambda: key_id(text)):
        with pytest.raises(BadInput, match="is not a public key"):
            door()


@given(st.binary(min_size=32, max_size=32))
def test_a_public_key_has_one_spelling(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert len(key_id(text)) == 32
    for other in (
        text + "\n",
        " " + text,
        text[:-1],
        text.rstrip("=") + "==",
        text[:-2] + chr(ord(text[-2]) + 1) + "=",
    ):
        with pytest.raises(BadInput):
            key_id(other)


def test_is_one_of() -> None:
    other = public_key_of(Ed25519PrivateKey.generate())
    assert is_one_of(PUBLIC, [other, PUBLIC], "config.yaml")
    assert not is_one_of(PUBLIC, [other], "config.yaml")
    assert not is_one_of(PUBLIC, [], "config.yaml")
    with pytest.raises(BadInput, match=r"'none' in config\.yaml is not a public key"):
        is_one_of(PUBLIC, [PUBLIC, "none"], "config.yaml")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
def test_openssl_reads_our_keys_and_we_read_its(tmp_path: Path) -> None:
    ours = tmp_path / "ours.pem"
    ours.write_bytes(generate_private_key())
    shown = subprocess.run(
        ["openssl", "pkey", "-in", ours, "-pubout", "-outform", "DER"], capture_output=True, check=True
    )
    assert base64.b64encode(shown.stdout[-32:]).decode() == public_key_of(
        load_private_key(ours.read_bytes(), "x")
    )
    theirs = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True)
    load_private_key(theirs.stdout, "theirs")
