"""A bundle is one exact file: what is not byte by byte as it was built is not read."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract import bundle as bundles
from envcheck.contract.archive import write_archive
from envcheck.contract.baseline import Baseline
from envcheck.contract.bundle import (
    BASELINE,
    INPUTS,
    LABELS,
    MANIFEST,
    MODEL,
    SIGNATURE,
    Manifest,
    Signature,
    build_bundle,
    read_bundle,
    sign_bundle,
)
from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.keys import generate_private_key, load_private_key, public_key_of
from envcheck.errors import BadInput

RELEASE = "digits@1.3"


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        read_bundle(data, "x.envcheck")
    assert caught.value.message.startswith("x.envcheck")
    return caught.value.message


def packed(members: Mapping[str, bytes]) -> bytes:
    """What a forger writes: any members, any bytes, but the very zip form of a bundle."""
    return write_archive(members)


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forged(data: bytes, **changed: bytes) -> bytes:
    """The bundle `data` with the members `manifest` or `signature` replaced, the rest as it was."""
    members = unpacked(data)
    return packed({**members, **{f"{name}.json": content for name, content in changed.items()}})


def test_a_bundle_reads_back(members: dict[str, bytes], signed: bytes, key: Ed25519PrivateKey) -> None:
    bundle = read_bundle(signed, "x.envcheck")
    assert bundle.members == members
    assert bundle.sha256 == hashlib.sha256(signed).hexdigest()
    assert bundle.manifest.members == {name: digest(data) for name, data in members.items()}
    assert bundle.baseline().release == bundle.manifest.release == RELEASE
    assert bundle.fingerprint().sections["python"].shared == {"version": "3.11.7"}
    assert bundle.signer() == public_key_of(key)
    bundle.require_signature({public_key_of(key)})


def test_any_zip_tool_opens_it_and_python_would_write_the_same(signed: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in unpacked(signed).items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            archive.writestr(info, data)
    assert buffer.getvalue() == signed
    with zipfile.ZipFile(io.BytesIO(signed)) as archive:
        assert archive.testzip() is None


def test_equal_members_make_equal_files(
    members: dict[str, bytes], key: Ed25519PrivateKey, signed: bytes
) -> None:
    assert build_bundle(RELEASE, dict(reversed(members.items())), key) == signed
    unsigned = build_bundle(RELEASE, members)
    assert sign_bundle(read_bundle(unsigned, "x"), key) == signed
    assert sign_bundle(read_bundle(signed, "x"), key) == signed


@given(st.dictionaries(st.just(LABELS), st.binary(max_size=40)), st.binary(max_size=200))
def test_any_contents_read_back(optional: dict[str, bytes], model: bytes) -> None:
    members = {**dict.fromkeys(bundles.REQUIRED_MEMBERS, b""), MODEL: model, **optional}
    assert read_bundle(build_bundle(RELEASE, members), "x").members == members


def test_only_members_that_belong_are_built(members: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match=r"needs model\.onnx"):
        build_bundle(RELEASE, {name: data for name, data in members.items() if name != MODEL})
    with pytest.raises(ValueError, match="no place for"):
        build_bundle(RELEASE, {**members, MANIFEST: b""})


def test_truncated_anywhere_it_is_refused(signed: bytes) -> None:
    for end in {*range(0, len(signed), 97), len(signed) - 1, *range(64)}:
        refusal(signed[:end])


def test_a_flipped_bit_anywhere_is_refused(signed: bytes) -> None:
    for at in range(len(signed)):
        changed = bytearray(signed)
        changed[at] ^= 1 << at % 8
        refusal(bytes(changed))


@given(st.data())
def test_other_bytes_anywhere_are_refused(signed: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(signed)))
    removed = data.draw(st.integers(0, 8))
    inserted = data.draw(st.binary(max_size=8))
    changed = signed[:at] + inserted + signed[at + removed :]
    if changed != signed:
        refusal(changed)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    refusal(data)
    refusal(b"PK\x03\x04" + data)


@pytest.mark.parametrize("slack", [b"\0", b"#!/bin/sh\n", b"PK\x05\x06" + bytes(18)])
def test_there_is_no_room_for_anything_else(signed: bytes, slack: bytes) -> None:
    refusal(signed + slack)
    refusal(slack + signed)
    end = signed.index(b"PK\x01\x02")
    refusal(signed[:end] + slack + signed[end:])


def rewritten(data: bytes, change: Callable[[zipfile.ZipInfo], Any], comment: bytes = b"") -> bytes:
    """The same members written by a general zip tool with something changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment
        for name, content in unpacked(data).items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            change(info)
            archive.writestr(info, content)
    return buffer.getvalue()


def set_to(**fields: Any) -> Callable[[zipfile.ZipInfo], None]:
    def change(info: zipfile.ZipInfo) -> None:
        if info.filename == MODEL:
            for name, value in fields.items():
                setattr(info, name, value)

    return change


def test_the_rewriting_of_this_test_alone_changes_nothing(signed: bytes) -> None:
    assert rewritten(signed, set_to()) == signed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"compress_type": zipfile.ZIP_DEFLATED}, "is compressed"),
        ({"compress_type": zipfile.ZIP_BZIP2}, "is compressed"),
        ({"filename": "../model.onnx"}, "a bundle has no member '../model.onnx'"),
        ({"filename": "/etc/passwd"}, "a bundle has no member '/etc/passwd'"),
        ({"filename": "model.onnx/../x"}, "a bundle has no member"),
        ({"filename": "MODEL.ONNX"}, "a bundle has no member"),
        ({"filename": "model.onnx "}, "a bundle has no member"),
        ({"filename": "modèle.onnx"}, "a bundle has no member"),
        ({"filename": "x" * 60000}, "a bundle has no member"),
        ({"filename": INPUTS}, "occurs twice"),
        ({"filename": "model.onnx/"}, "a bundle has no member"),
        ({"comment": b"hello"}, "zip structure"),
        ({"extra": struct.pack("<HH4s", 0xCAFE, 4, b"abcd")}, "not as envcheck stores it"),
        ({"date_time": (2026, 1, 1, 0, 0, 0)}, "zip structure"),
        ({"external_attr": 0o120777 << 16}, "zip structure"),
        ({"create_system": 0}, "zip structure"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_another_zip_of_the_members_is_refused(signed: bytes, fields: dict[str, Any], message: str) -> None:
    found = refusal(rewritten(signed, set_to(**fields)))
    assert message in found or "not as envcheck stores it" in found
    assert len(found) < 300


def test_a_comment_of_the_whole_is_refused(signed: bytes) -> None:
    assert "zip structure" in refusal(rewritten(signed, set_to(), comment=b"hello"))


def test_members_in_another_order_are_refused(signed: bytes) -> None:
    assert "zip structure" in refusal(packed(dict(reversed(unpacked(signed).items()))))


def test_a_directory_that_says_something_else_is_refused(signed: bytes) -> None:
    # A zip reader that goes by the directory would take inputs.npz for the model.
    directory = signed.index(b"PK\x01\x02")
    swapped = signed[directory:].replace(b"model.onnx", b"labels.npz", 1)
    assert "zip structure" in refusal(signed[:directory] + swapped)


def test_a_directory_of_a_million_entries_costs_nothing(signed: bytes) -> None:
    at = signed.index(b"PK\x01\x02")
    entry = signed[at : signed.index(b"PK\x01\x02", at + 4)]
    refusal(signed[:at] + entry * 1_000_000 + signed[at:])


@pytest.mark.parametrize("name", [*bundles.REQUIRED_MEMBERS, MANIFEST])
def test_a_missing_member_is_named(signed: bytes, name: str) -> None:
    members = unpacked(signed)
    del members[name]
    assert name in refusal(packed(members))


def test_what_the_manifest_does_not_name_is_refused(signed: bytes) -> None:
    manifest = decode(unpacked(signed)[MANIFEST], Manifest, "x")
    fewer = {name: value for name, value in manifest.members.items() if name != LABELS}
    data = forged(signed, manifest=encode(Manifest(release=RELEASE, members=fewer)))
    unsigned = {name: content for name, content in unpacked(data).items() if name != SIGNATURE}
    assert "labels.npz is not in the manifest" in refusal(packed(unsigned))


def test_a_manifest_that_names_what_is_not_there_is_refused(members: dict[str, bytes]) -> None:
    named = {name: digest(data) for name, data in members.items()} | {"\x1b[2J" * 99: "0"}
    manifest = encode(Manifest(release=RELEASE, members=named))
    found = refusal(packed({MANIFEST: manifest, **dict(sorted(members.items()))}))
    assert "is missing" in found
    assert len(found) < 200


def test_a_changed_member_is_named(members: dict[str, bytes], signed: bytes) -> None:
    assert "model.onnx is damaged" in refusal(packed({**unpacked(signed), MODEL: b"other"}))


def test_a_changed_manifest_does_not_fit_the_signature(signed: bytes) -> None:
    manifest = unpacked(signed)[MANIFEST].replace(b"digits@1.3", b"digits@1.4")
    assert "changed after it was signed" in refusal(forged(signed, manifest=manifest))


def test_a_signature_of_another_key_is_no_pinned_one(
    members: dict[str, bytes], key: Ed25519PrivateKey
) -> None:
    other = load_private_key(generate_private_key(), "x")
    bundle = read_bundle(build_bundle(RELEASE, members, other), "x.envcheck")
    with pytest.raises(BadInput, match="not pinned here") as caught:
        bundle.require_signature([public_key_of(key)])
    assert "release_keys" in caught.value.hint
    bundle.require_signature([public_key_of(key), public_key_of(other)])


def test_signed_anew_it_has_the_new_signer_only(signed: bytes, key: Ed25519PrivateKey) -> None:
    other = load_private_key(generate_private_key(), "x")
    bundle = read_bundle(sign_bundle(read_bundle(signed, "x"), other), "x")
    assert bundle.signer() == public_key_of(other)
    with pytest.raises(BadInput, match="not pinned"):
        bundle.require_signature([public_key_of(key)])


def test_an_unsigned_bundle_reads_but_is_not_trusted(
    members: dict[str, bytes], key: Ed25519PrivateKey
) -> None:
    bundle = read_bundle(build_bundle(RELEASE, members), "x.envcheck")
    assert bundle.signer() is None
    with pytest.raises(BadInput, match="is not signed") as caught:
        bundle.require_signature([public_key_of(key)])
    assert "envcheck baseline sign" in caught.value.hint


def test_nothing_is_pinned_by_default(signed: bytes) -> None:
    with pytest.raises(BadInput, match="not pinned"):
        read_bundle(signed, "x").require_signature([])


def test_a_pinned_key_that_is_none_is_told(signed: bytes, key: Ed25519PrivateKey) -> None:
    with pytest.raises(BadInput, match="in the pinned release keys is not a public key"):
        read_bundle(signed, "x").require_signature([public_key_of(key) + "\n"])


def other_spelling(text: str) -> str:
    """The same bytes in base64 that a strict reader would not write: the unused low bits set."""
    body = text.rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    changed = body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + text[len(body) :]
    assert base64.b64decode(changed) == base64.b64decode(text)
    return changed


def test_a_signature_has_one_spelling(signed: bytes) -> None:
    found = decode(unpacked(signed)[SIGNATURE], Signature, "x")
    respelled = Signature(public_key=found.public_key, signature=other_spelling(found.signature))
    refusal(forged(signed, signature=encode(respelled)))
    respelled = Signature(public_key=other_spelling(found.public_key), signature=found.signature)
    assert "signature.json: public_key is not a public key" in refusal(
        forged(signed, signature=encode(respelled))
    )


@pytest.mark.parametrize("text", ["", "????", "AAAA", "ä" * 88, "A" * 86 + "=="])
def test_what_is_no_signature_is_refused(signed: bytes, key: Ed25519PrivateKey, text: str) -> None:
    refusal(forged(signed, signature=encode(Signature(public_key=public_key_of(key), signature=text))))


@pytest.mark.parametrize("name", ["manifest", "signature"])
def test_a_newer_major_version_is_refused(signed: bytes, name: str) -> None:
    newer = unpacked(signed)[f"{name}.json"].replace(b"/1.0", b"/2.0")
    assert f"{name}.json holds a {name} of version 2.0" in refusal(forged(signed, **{name: newer}))


def test_a_newer_minor_manifest_is_read_with_notice(
    members: dict[str, bytes], key: Ed25519PrivateKey
) -> None:
    manifest = encode(
        Manifest(release=RELEASE, members={name: digest(data) for name, data in members.items()})
    )
    newer = manifest.replace(b"manifest/1.0", b"manifest/1.9").replace(b"{", b'{"aim":"x",', 1)
    signature = base64.b64encode(key.sign(newer)).decode()
    head = {MANIFEST: newer, SIGNATURE: encode(Signature(public_key=public_key_of(key), signature=signature))}
    notices: list[str] = []
    bundle = read_bundle(packed({**head, **dict(sorted(members.items()))}), "x", notices.append)
    bundle.require_signature([public_key_of(key)])
    assert ["manifest 1.9" in notice for notice in notices] == [True]


def test_an_oversized_manifest_is_refused_unparsed(members: dict[str, bytes]) -> None:
    data = packed({MANIFEST: b" " * 100_000 + b"{}", **dict(sorted(members.items()))})
    assert "manifest.json is larger than" in refusal(data)


def test_another_release_in_the_manifest_than_in_the_baseline(members: dict[str, bytes]) -> None:
    bundle = read_bundle(build_bundle("digits@9", members), "x.envcheck")
    with pytest.raises(BadInput, match=r"the manifest says 'digits@9', the baseline 'digits@1\.3'"):
        bundle.baseline()


def test_another_model_than_the_baseline_describes(members: dict[str, bytes]) -> None:
    bundle = read_bundle(build_bundle(RELEASE, {**members, MODEL: b"other"}), "x.envcheck")
    with pytest.raises(BadInput, match="another model"):
        bundle.baseline()


def test_contents_are_parsed_only_when_asked_for(members: dict[str, bytes], key: Ed25519PrivateKey) -> None:
    bundle = read_bundle(build_bundle(RELEASE, {**members, BASELINE: b"{not json"}, key), "x.envcheck")
    bundle.require_signature([public_key_of(key)])
    with pytest.raises(BadInput, match=r"x\.envcheck: baseline\.json is not valid JSON"):
        bundle.baseline()


def test_a_baseline_of_a_newer_major_version(members: dict[str, bytes]) -> None:
    newer = members[BASELINE].replace(Baseline.FORMAT.encode(), b"envcheck.baseline/2.0")
    bundle = read_bundle(build_bundle(RELEASE, {**members, BASELINE: newer}), "x.envcheck")
    with pytest.raises(BadInput, match=r"baseline of version 2\.0"):
        bundle.baseline()


def test_a_bundle_is_bounded_by_what_zip_can_say() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**32

    with pytest.raises(BadInput, match="4 GB"):
        write_archive({MODEL: Huge()})
