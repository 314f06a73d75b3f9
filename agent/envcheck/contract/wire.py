"""What travels between a device, CI and the collector. See docs/wire.md for the routes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from envcheck.contract.document import Document, Value, document_digest
from envcheck.contract.evidence import Latency, Quantity, Smoke
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Outcome

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]
DeviceState = Literal["accepted", "pending", "revoked", "quarantined"]


class Enrolment(Document, frozen=True, kw_only=True):
    """A device asks to be known. `labels` are proposals; those of the token or the operator count.

    `public_key` is the raw Ed25519 key in base64; `hardware` a digest of the serials that the
    device can read (empty when it can read none).
    """

    FORMAT: ClassVar[str] = "envcheck.enrolment/1.0"

    token: str
    device: str
    public_key: str
    hardware: str = ""
    labels: dict[str, str] = {}


class EnrolmentAnswer(Document, frozen=True, kw_only=True):
    """What became of it. `epoch` counts the enrolments of this device and goes into its reports."""

    FORMAT: ClassVar[str] = "envcheck.enrolment-answer/1.0"

    device: str
    state: DeviceState
    epoch: Count
    labels: dict[str, str] = {}


class KeyRotation(Document, frozen=True, kw_only=True):
    """A device gives itself another key; the request is signed by the one that it has.

    `proof` is the signature in base64, by the new key, of what `envcheck.contract.keys.rotation_statement`
    returns: it shows that the new key is this device's own.
    """

    FORMAT: ClassVar[str] = "envcheck.key-rotation/1.0"

    public_key: str
    proof: str


class Result(Value, frozen=True, kw_only=True):
    """A device's evidence for one bundle, by digest, with the readings that `decide` needs.

    `throttled` tells that the device was slowed down while the model ran, `starved` that it was a CPU quota
    that did so, not heat or power. Throughput follows from the latency and the samples of one run.
    """

    evidence: str
    measured_at: str
    latency: Latency | None = None
    peak_memory_mb: Quantity | None = None
    throttled: bool | None = None
    starved: bool = False


# The reading that tells the deployed model's digest, and what stands there when its file can't be read.
MODEL_READING = "model"
UNREADABLE = "unreadable"


def result_of(smoke: Smoke) -> Result:
    """Return what a report says of a smoke run: its evidence by digest, and its readings."""
    return Result(
        evidence=document_digest(smoke.evidence),
        measured_at=smoke.measured_at,
        latency=smoke.readings.latency,
        peak_memory_mb=smoke.readings.peak_memory_mb,
        throttled=True if smoke.readings.starved else smoke.readings.throttled,
        starved=bool(smoke.readings.starved),
    )


class Report(Document, frozen=True, kw_only=True):
    """A device's statement about itself. `results` maps the SHA-256 of a bundle to its result.

    `readings` are flat ("memory.available_mb": 512). The device speaks for itself: who it is comes
    from the key that signed the request.
    """

    FORMAT: ClassVar[str] = "envcheck.report/1.0"

    epoch: Count
    seq: Count
    captured_at: str
    fingerprint: str
    results: dict[str, Result] = {}
    readings: dict[str, bool | int | float | str] = {}
    hardware: str = ""


class ReleaseOffer(Value, frozen=True, kw_only=True):
    """A release that is meant for this device: fetch the bundle by its digest, check it, run it."""

    release: str
    sha256: str
    size: Count
    url: str = ""


class ReportAnswer(Document, frozen=True, kw_only=True):
    """`stored` is the SHA-256 of the body that was stored: without it nothing was acknowledged.

    `missing` names objects that the collector has never seen and wants.
    """

    FORMAT: ClassVar[str] = "envcheck.report-answer/1.0"

    stored: str
    missing: list[str] = []
    releases: list[ReleaseOffer] = []
    next_report_s: Annotated[int, Meta(ge=1, le=7 * 86400)] = 300


class ObjectAnswer(Document, frozen=True, kw_only=True):
    """An object was stored; `missing` names objects that it refers to and that are wanted too."""

    FORMAT: ClassVar[str] = "envcheck.object-answer/1.0"

    stored: str
    missing: list[str] = []


class BundleAnswer(Document, frozen=True, kw_only=True):
    """A bundle was stored under its digest."""

    FORMAT: ClassVar[str] = "envcheck.bundle-answer/1.0"

    stored: str
    size: Count


class ReleasePush(Document, frozen=True, kw_only=True):
    """Give the collector a release: a stored bundle, the policy it is judged by, the devices it is for.

    `mirror` is a URL from which devices fetch the same bytes; "" is none.
    """

    FORMAT: ClassVar[str] = "envcheck.release-push/1.0"

    bundle: str
    policy: Policy
    selector: str = ""
    mirror: str = ""


class ReleaseAnswer(Document, frozen=True, kw_only=True):
    """The release as the collector holds it; `revision` counts changes of its policy or selector.

    One that is `retired` is offered to no device any more.
    """

    FORMAT: ClassVar[str] = "envcheck.release-answer/1.0"

    release: str
    bundle: str
    policy: str
    selector: str
    revision: Count
    retired: bool = False
    mirror: str = ""


class ReleasesAnswer(Document, frozen=True, kw_only=True):
    """Every release that the collector holds, newest first."""

    FORMAT: ClassVar[str] = "envcheck.releases-answer/1.0"

    releases: list[ReleaseAnswer]


# How many devices one question may name.
MOST_EXPECTED = 1_000_000


class GateQuestion(Document, frozen=True, kw_only=True):
    """Are these devices ready for this release?

    Shares are fractions from 0 to 1; `max_age_s` None takes the policy's; `expect` names devices that must be
    there (MOST_EXPECTED at most): an absent one counts as unknown.
    """

    FORMAT: ClassVar[str] = "envcheck.gate-question/1.0"

    release: str
    cohort: str = ""
    min_ready: Share = 1.0
    max_unknown: Share = 0.0
    max_age_s: Count | None = None
    expect: list[str] = []


class GateGroup(Value, frozen=True, kw_only=True):
    """Devices that have one answer for one reason; `devices` are the first few of `count`."""

    outcome: Outcome
    reason: str
    count: Count
    devices: list[str]
    path: str = ""
    cause: str = ""
    hint: str = ""


class GateWaiver(Value, frozen=True, kw_only=True):
    """An exception that the answer made use of: findings of `count` devices did not count."""

    name: str
    path: str
    reason: str
    expires_at: str
    count: Count


class GateAnswer(Document, frozen=True, kw_only=True):
    """The gate's answer: pass, fail or unknown, and why."""

    FORMAT: ClassVar[str] = "envcheck.gate-answer/1.0"

    release: str
    cohort: str
    outcome: Outcome
    total: Count
    ready: Count
    blocked: Count
    unknown: Count
    min_ready: Share
    max_unknown: Share
    groups: list[GateGroup] = []
    common: list[str] = []
    waivers: list[GateWaiver] = []


class FleetDevice(Value, frozen=True, kw_only=True):
    """One row of the fleet table. `outcome` and `reason` are for the release asked about, if any.

    `waiting` are the ids of keys that wait for an operator, its first one or others. `unknown_sections` are
    kinds of section that the device tells and this collector does not know: kept, and never judged.
    """

    device: str
    state: DeviceState
    labels: dict[str, str] = {}
    last_seen: str = ""
    fingerprint: str = ""
    python: str = ""
    onnxruntime: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    waiting: list[str] = []
    unknown_sections: list[str] = []


class FleetAnswer(Document, frozen=True, kw_only=True):
    """Devices in the order of their ids; `next` is where the following page begins, empty at the end."""

    FORMAT: ClassVar[str] = "envcheck.fleet-answer/1.0"

    devices: list[FleetDevice]
    next: str = ""


class InventoryDevice(Value, frozen=True, kw_only=True):
    """A device that ought to be there, and the labels that it ought to have."""

    device: str
    labels: dict[str, str] = {}


class Inventory(Document, frozen=True, kw_only=True):
    """Every device that is expected. Those that never enrolled are unknown to the gate."""

    FORMAT: ClassVar[str] = "envcheck.inventory/1.0"

    devices: list[InventoryDevice]


class InventoryAnswer(Document, frozen=True, kw_only=True):
    """How many devices are expected, and how many of them are not there; `absent` names the first ones."""

    FORMAT: ClassVar[str] = "envcheck.inventory-answer/1.0"

    expected: Count
    missing: Count
    absent: list[str] = []


class Problem(Document, frozen=True, kw_only=True):
    """The one shape of every error answer of the collector."""

    FORMAT: ClassVar[str] = "envcheck.problem/1.0"

    message: str
    hint: str = ""
