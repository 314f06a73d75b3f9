"""Ed25519 keys: releases are signed with one, and every device signs its requests with its own.

A private key is PKCS#8 PEM, as OpenSSL writes it; a public key is its 32 raw bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from envcheck.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def generate_private_key() -> bytes:
    """Return a new private key as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_private_key(pem: bytes, source: str) -> Ed25519PrivateKey:
    """Read a private key; raises BadInput naming `source`, never showing what was in it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    hint = "make one: envcheck key create FILE"
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadInput(f"{source} is not an unencrypted private key in PEM form", hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{source} is a private key of another kind than Ed25519", hint)
    return key


def public_key_of(private: Ed25519PrivateKey) -> str:
    """Return the public key in base64."""
    return base64.b64encode(private.public_key().public_bytes_raw()).decode("ascii")


def load_public_key(text: str, source: str) -> Ed25519PublicKey:
    """Read a public key; raises BadInput naming `source`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(_raw(text, source))


def is_one_of(public_key: str, pinned: Iterable[str], source: str) -> bool:
    """Tell whether `public_key` is among the `pinned` ones; BadInput naming `source` if one is no key."""
    return _raw(public_key, "the public key") in {_raw(key, f"{key[:100]!r} in {source}") for key in pinned}


def key_id(public_key: str) -> str:
    """Return the short name of a public key: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(_raw(public_key, "the public key")).hexdigest()[:32]


def rotation_statement(device: str, old_key: str, new_public_key: str) -> bytes:
    """Return what a device's new key signs when it takes the place of the key with the id `old_key`."""
    return f"envcheck key rotation\n{device}\n{old_key}\n{new_public_key}\n".encode()


def is_signed_by(public_key: str, signature: bytes, message: bytes, source: str = "the public key") -> bool:
    """Tell whether `signature` is `public_key`'s over `message`; BadInput naming `source` if it is no key."""
    from cryptography.exceptions import InvalidSignature

    try:
        load_public_key(public_key, source).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _raw(text: str, source: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # One key has one spelling: base64 would take any of four last characters.
    if len(raw) != 32 or base64.b64encode(raw).decode("ascii") != text:
        raise BadInput(
            f"{source} is not a public key",
            "a public key is 32 bytes in base64, as `envcheck key create` prints it",
        )
    return raw
