"""What a device is held to: a bundle's baseline and training fingerprint, decoded once."""

from __future__ import annotations

from envcheck.contract.baseline import Baseline, Graph
from envcheck.contract.bundle import Bundle
from envcheck.contract.document import Value
from envcheck.contract.evidence import Ending, Evidence
from envcheck.contract.fingerprint import Fingerprint, SharedFingerprint, shared_fingerprint


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


def reference_of_fingerprint(fingerprint: Fingerprint, name: str) -> Reference:
    """Hold a device to a bare fingerprint: no model, no evidence, and every package counts."""
    shared = shared_fingerprint(fingerprint)
    packages = shared.sections.get("packages")
    baseline = Baseline(
        name=name,
        version=shared.digest[:12],
        created_at=fingerprint.captured_at,
        agent=fingerprint.agent,
        graph=Graph(sha256="", size=0, ir_version=0),
        samples=0,
        outputs={},
        required=sorted(packages.facts) if packages is not None else [],
        providers=[],
        evidence=Evidence(bundle="", fingerprint=shared.digest, ending=Ending(status="ok")),
    )
    return Reference(bundle="", baseline=baseline, training=shared)
