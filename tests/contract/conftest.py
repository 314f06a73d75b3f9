"""One small bundle, made by the same door as real ones."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from envcheck.contract.baseline import Baseline, Graph, OutputReference
from envcheck.contract.bundle import BASELINE, FINGERPRINT, INPUTS, LABELS, MODEL, REFERENCE, build_bundle
from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.evidence import Ending, Evidence
from envcheck.contract.fingerprint import Section, make_fingerprint, only_shared
from envcheck.contract.keys import generate_private_key, load_private_key

RELEASE = "digits@1.3"


def small_members(release: str = RELEASE) -> dict[str, bytes]:
    """The members of a bundle; what the contract does not parse is a few bytes that look like it."""
    name, version = release.split("@")
    model = b"\x08\x08model"
    training = make_fingerprint(
        {"python": Section(status="ok", shared={"version": "3.11.7"})}, "2026-01-01T00:00:00Z", "0.1.0"
    )
    baseline = Baseline(
        name=name,
        version=version,
        created_at="2026-01-01T00:00:00Z",
        agent="0.1.0",
        graph=Graph(sha256=digest(model), size=len(model), ir_version=8),
        samples=1,
        outputs={"scores": OutputReference(dtype="float32", shape=[1, 10])},
        required=["onnxruntime"],
        providers=["CPUExecutionProvider"],
        evidence=Evidence(bundle="", fingerprint=training.digest, ending=Ending(status="ok")),
    )
    return {
        BASELINE: encode(baseline),
        FINGERPRINT: encode(only_shared(training)),
        MODEL: model,
        INPUTS: b"PK\x03\x04inputs",
        REFERENCE: b"PK\x05\x06reference",
        LABELS: b"",
    }


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return load_private_key(generate_private_key(), "the test's key")


@pytest.fixture(scope="session")
def members() -> dict[str, bytes]:
    return small_members()


@pytest.fixture(scope="session")
def signed(members: dict[str, bytes], key: Ed25519PrivateKey) -> bytes:
    return build_bundle(RELEASE, members, key)
