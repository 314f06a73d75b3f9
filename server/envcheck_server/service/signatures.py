"""Whether a device's key signed something: by libsodium, which needs half of the time that OpenSSL does.

It is stricter, too: keys of small order, for which anybody can sign, sign nothing here.
"""

from __future__ import annotations

import base64

from nacl.bindings import crypto_sign_BYTES, crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import CryptoError


def raw_key(public_key: str) -> bytes:
    """Return the 32 bytes of a key in base64, whose spelling was checked when it was enrolled."""
    return base64.b64decode(public_key)


def is_signed_by(raw: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether `signature` is that of the Ed25519 key `raw` over `message`."""
    # The library reads as many bytes as there ought to be.
    if len(signature) != crypto_sign_BYTES or len(raw) != crypto_sign_PUBLICKEYBYTES:
        return False
    try:
        crypto_sign_open(signature + message, raw)
    except CryptoError:
        return False
    return True
