"""What a device is held to: a bundle's baseline and training fingerprint, decoded once."""

from __future__ import annotations

from envcheck.contract.baseline import Baseline
from envcheck.contract.bundle import Bundle
from envcheck.contract.document import Value
from envcheck.contract.fingerprint import SharedFingerprint, shared_fingerprint


class Reference(Value, frozen=True, kw_only=True):
    """The training side of one release. `bundle` is the SHA-256 of the bundle file."""

    bundle: str
    baseline: Baseline
    training: SharedFingerprint


def reference_of(bundle: Bundle) -> Reference:
    """Decode what judging needs from an opened bundle; raises BadInput when it is not whole."""
    return Reference(
        bundle=bundle.sha256,
        baseline=bundle.baseline(),
        training=shared_fingerprint(bundle.fingerprint()),
    )
