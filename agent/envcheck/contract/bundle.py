"""The bundle: one baseline as one signed file.

A flat zip of allow-listed names, stored and not compressed (so it can't be a bomb), with a manifest of
digests and an Ed25519 signature over the manifest's exact bytes. Equal members make equal files, and
only that one file is read: not a byte of it is outside of what is checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from envcheck.contract.archive import check_archive, read_archive, write_archive
from envcheck.contract.baseline import Baseline
from envcheck.contract.canonical import digest
from envcheck.contract.document import Document, Notice, decode, encode
from envcheck.contract.fingerprint import Fingerprint
from envcheck.contract.keys import is_one_of, is_signed_by, key_id, public_key_of
from envcheck.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
BASELINE = "baseline.json"
FINGERPRINT = "fingerprint.json"
MODEL = "model.onnx"
INPUTS = "inputs.npz"
REFERENCE = "reference.npz"
LABELS = "labels.npz"

REQUIRED_MEMBERS = (BASELINE, FINGERPRINT, MODEL, INPUTS, REFERENCE)
OPTIONAL_MEMBERS = (LABELS,)
_ALLOWED = frozenset({MANIFEST, SIGNATURE, *REQUIRED_MEMBERS, *OPTIONAL_MEMBERS})
_MAX_HEAD = 64 * 1024


class Manifest(Document, frozen=True, kw_only=True):
    """The digest of every member. Its exact bytes are what is signed."""

    FORMAT: ClassVar[str] = "envcheck.manifest/1.0"

    release: str
    members: dict[str, str]


class Signature(Document, frozen=True, kw_only=True):
    """A signature over the bytes of the manifest; both fields in base64."""

    FORMAT: ClassVar[str] = "envcheck.signature/1.0"

    public_key: str
    signature: str


class Bundle:
    """An opened bundle: digests checked, the signature held to its own key but not yet to a pinned one."""

    def __init__(
        self,
        data: bytes | memoryview,
        manifest_bytes: bytes,
        manifest: Manifest,
        members: Mapping[str, bytes],
        signature: Signature | None,
        source: str,
        notice: Notice | None,
    ) -> None:
        self._data = data
        self.manifest_bytes = manifest_bytes
        self.manifest = manifest
        self.members = members
        self.signature = signature
        self.source = source
        self._notice = notice

    @cached_property
    def sha256(self) -> str:
        """The digest of the whole file; taken when it is first asked for."""
        return sha256(self._data).hexdigest()

    def baseline(self) -> Baseline:
        """Decode the baseline; raises BadInput when it is not one, or not that of the manifest."""
        where = f"{self.source}: {BASELINE}"
        baseline = decode(bytes(self.members[BASELINE]), Baseline, where, self._notice)
        if baseline.release != self.manifest.release:
            raise BadInput(
                f"{self.source}: the manifest says {self.manifest.release!r}, "
                f"the baseline {baseline.release!r}"
            )
        if baseline.graph.sha256 != self.manifest.members[MODEL]:
            raise BadInput(f"{self.source}: the baseline describes another model than the one beside it")
        return baseline

    def fingerprint(self) -> Fingerprint:
        """Decode the training fingerprint (shared facts only)."""
        where = f"{self.source}: {FINGERPRINT}"
        return decode(bytes(self.members[FINGERPRINT]), Fingerprint, where, self._notice)

    def signer(self) -> str | None:
        """Return the public key that signed this bundle, None when it is unsigned."""
        return None if self.signature is None else self.signature.public_key

    def require_signature(self, pinned: Collection[str]) -> None:
        """Raise BadInput unless one of the `pinned` public keys signed this bundle.

        Call it before anything but the manifest is parsed.
        """
        if self.signature is None:
            raise BadInput(
                f"{self.source} is not signed", "sign it: envcheck baseline sign --key KEY " + self.source
            )
        if not is_one_of(self.signature.public_key, pinned, "the pinned release keys"):
            raise BadInput(
                f"{self.source} is signed by the key {key_id(self.signature.public_key)}, "
                "which is not pinned here",
                "if that is your release key, add its public key to release_keys in the configuration",
            )


def build_bundle(release: str, members: Mapping[str, bytes], key: Ed25519PrivateKey | None = None) -> bytes:
    """Write a bundle of `members` (name -> bytes), signed when a key is given."""
    for name in REQUIRED_MEMBERS:
        if name not in members:
            raise ValueError(f"a bundle needs {name}")
    if unknown := set(members) - {*REQUIRED_MEMBERS, *OPTIONAL_MEMBERS}:
        raise ValueError(f"a bundle has no place for {sorted(unknown)}")
    manifest = encode(
        Manifest(release=release, members={name: digest(data) for name, data in members.items()})
    )
    head = {MANIFEST: manifest}
    if key is not None:
        signature = base64.b64encode(key.sign(manifest)).decode("ascii")
        head[SIGNATURE] = encode(Signature(public_key=public_key_of(key), signature=signature))
    return write_archive({**head, **dict(sorted(members.items()))})


def sign_bundle(bundle: Bundle, key: Ed25519PrivateKey) -> bytes:
    """Return `bundle` signed with `key`; an earlier signature is replaced."""
    return build_bundle(bundle.manifest.release, bundle.members, key)


def _digest(_: str, content: bytes) -> str:
    return digest(content)


def _in_turn(checks: Sequence[Callable[[], None]]) -> None:
    for check in checks:
        check()


@dataclass(frozen=True)
class Checking:
    """How a bundle is checked: who takes a member's digest, by name and content, and who runs the checks.

    `take` is called once for each member, and may do more with the bytes. `run` runs all of the checks, and
    raises what the first in order raised.
    """

    take: Callable[[str, bytes], str] = _digest
    run: Callable[[Sequence[Callable[[], None]]], None] = _in_turn


_PLAIN = Checking()


def read_bundle(
    data: bytes | memoryview, source: str, notice: Notice | None = None, checking: Checking = _PLAIN
) -> Bundle:
    """Open a bundle and check every digest; `source` names it in errors.

    Of a memoryview (of a mapped file, say) the members are views, so that nothing large is copied.

    Raises BadInput for a truncated file, a foreign or missing member, a wrong digest, a signature that
    does not verify, a newer major version, or a single byte that is not as `build_bundle` writes it.
    Nothing but manifest and signature is parsed.
    """
    members: dict[str, Any] = {**read_archive(data, _ALLOWED, source)}
    if MANIFEST not in members:
        raise BadInput(f"{source} is not an envcheck bundle: it has no {MANIFEST}")
    manifest_bytes = _bounded(members.pop(MANIFEST), MANIFEST, source)
    manifest = decode(manifest_bytes, Manifest, f"{source}: {MANIFEST}", notice)
    signature_bytes = _bounded(members.pop(SIGNATURE), SIGNATURE, source) if SIGNATURE in members else None
    signature = _read_signature(signature_bytes, manifest_bytes, source)
    head = {MANIFEST: manifest_bytes}
    if signature_bytes is not None:
        head[SIGNATURE] = signature_bytes
    written = {**head, **dict(sorted(members.items()))}
    digests = partial(_check_digests, members, manifest, source, checking.take)
    checking.run([digests, partial(check_archive, data, written, source)])
    return Bundle(data, manifest_bytes, manifest, members, signature, source, notice)


def _check_digests(
    members: Mapping[str, bytes], manifest: Manifest, source: str, take: Callable[[str, bytes], str]
) -> None:
    for name in sorted({*REQUIRED_MEMBERS, *manifest.members} - set(members)):
        raise BadInput(f"{source}: the member {name[:80]} is missing", "get the bundle again from its source")
    for name, content in sorted(members.items()):
        if name not in manifest.members:
            raise BadInput(f"{source}: the member {name} is not in the manifest", "do not run this file")
        if take(name, content) != manifest.members[name]:
            raise BadInput(
                f"{source}: the member {name} is damaged: its digest is not the manifest's",
                "get the bundle again from its source",
            )


def _bounded(data: bytes | memoryview, name: str, source: str) -> bytes:
    if len(data) > _MAX_HEAD:
        raise BadInput(f"{source}: the member {name} is larger than {_MAX_HEAD} bytes")
    return bytes(data)


def _read_signature(data: bytes | None, manifest: bytes, source: str) -> Signature | None:
    if data is None:
        return None
    signature = decode(data, Signature, f"{source}: {SIGNATURE}")
    try:
        raw = base64.b64decode(signature.signature, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    fits = is_signed_by(signature.public_key, raw, manifest, f"{source}: {SIGNATURE}: public_key")
    if not fits or base64.b64encode(raw).decode("ascii") != signature.signature:
        raise BadInput(
            f"{source}: the signature does not fit the manifest: the bundle was changed after it was signed",
            "do not run this file; get the bundle again from its source",
        )
    return signature
