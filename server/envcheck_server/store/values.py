"""What goes into a store and comes out of it: plain values. Times are whole seconds since 1970 in UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.wire import DeviceState

Scope = Literal["enroll", "gate:read", "baseline:write", "metrics:read", "operator", "admin"]


class Token(msgspec.Struct, frozen=True):
    """A bearer token as stored: its hash, never itself. `uses` None is without limit."""

    id: str
    secret_hash: str
    scope: Scope
    created_at: int
    name: str = ""
    labels: dict[str, str] = {}
    uses: int | None = None
    used: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None


class Key(msgspec.Struct, frozen=True):
    """One public key that a device enrolled with. `token` is the id of the token it used.

    The state of the one that a device speaks with is the device's, accepted in quarantine; so are its epoch
    and its hardware.
    """

    device: str
    key_id: str
    public_key: str
    state: DeviceState
    epoch: int
    token: str
    hardware: str


class Statement(msgspec.Struct, frozen=True):
    """What a report claims, without what changes by the minute: a fingerprint and, by bundle, evidence.

    `id` is the first 64 bits of the digest of the rest, so that most of a fleet shares a few hundred small
    integers to group by. `model` is the digest of the deployed model, "unreadable", or "" where none is
    named.
    """

    id: int
    fingerprint: str
    evidence: dict[str, str]
    model: str = ""

    def objects(self) -> set[str]:
        """Return the digests that this statement refers to directly."""
        return {self.fingerprint, *self.evidence.values()}


class Device(msgspec.Struct, frozen=True):
    """A device with the key it speaks with. `seen_at` is when its last report was captured, by our clock.

    `report` is the `report_name` of the last one, `clock_offset` our clock minus the device's, in seconds.
    """

    device: str
    state: DeviceState
    labels: dict[str, str]
    key_id: str
    epoch: int
    enrolled_at: int
    hardware: str = ""
    seq: int = -1
    report: str = ""
    statement: int | None = None
    seen_at: int | None = None
    received_at: int | None = None
    clock_offset: int = 0


def report_name(digest: str) -> str:
    """Return the first 64 bits of a report's digest: enough to tell it from another of the same device."""
    return digest[:16]


class EnrolmentFacts(msgspec.Struct, frozen=True):
    """What a store knows when a device asks to be enrolled."""

    token: Token | None
    device: Device | None
    keys: list[Key]
    holder: str | None
    preauthorised: Preauthorised | None = None


class EnrolmentPlan(msgspec.Struct, frozen=True):
    """What the service decided: keys and a device to write (None changes nothing), a use of the token."""

    key: Key
    device: Device | None = None
    write_key: bool = True
    use_token: bool = True


class NewReport(msgspec.Struct, frozen=True):
    """A report whose signature was verified.

    `results` is the JSON of the report's results by bundle, without the evidence that the statement holds
    already; `readings` is the JSON of its readings.
    """

    device: str
    key_id: str
    epoch: int
    seq: int
    report: str
    statement: Statement
    seen_at: int
    received_at: int
    clock_offset: int
    hardware: str
    readings: str
    results: str


class Bundle(msgspec.Struct, frozen=True):
    """What is kept of a bundle beside its bytes, for judging: baseline and training fingerprint."""

    sha256: str
    size: int
    release: str
    signer: str
    baseline: bytes
    fingerprint: bytes


class Release(msgspec.Struct, frozen=True):
    """A release in its current revision; `policy` is the canonical JSON of the policy document."""

    release: str
    bundle: str
    size: int
    revision: int
    policy: bytes
    policy_digest: str
    selector: str
    created_at: int
    retired_at: int | None = None
    mirror: str | None = None


Receipt = Literal["stored", "repeated", "older", "forked", "epoch", "key", "state", "clone", "gone"]
# Signs of two machines with one key.
CLONED: tuple[Receipt, ...] = ("clone", "forked")


class Received(msgspec.Struct, frozen=True):
    """What became of a report.

    `device` is the row as it was before, `missing` objects never seen, `releases` all that are not retired.
    """

    receipt: Receipt
    device: Device | None
    missing: list[str]
    releases: list[Release]


class FindingsKey(msgspec.Struct, frozen=True):
    """What findings are a pure function of. `evidence` is empty where there is none."""

    bundle: str
    fingerprint: str
    evidence: str
    policy: str
    judge_version: int


class Cuts(msgspec.Struct, frozen=True):
    """Where lines are drawn: devices on one side of all of them share a verdict.

    `seen_before` is the oldest `seen_at` that still counts, `seen_until` the latest that can be. Every limit
    of `p50_ms`, `p90_ms` and `peak_memory_mb` draws a line. Each of `waivers` says which labels one waiver
    means.
    """

    bundle: str
    seen_before: int
    seen_until: int
    p50_ms: tuple[float, ...] = ()
    p90_ms: tuple[float, ...] = ()
    peak_memory_mb: tuple[float, ...] = ()
    waivers: tuple[Callable[[Mapping[str, str]], bool], ...] = ()


class Group(msgspec.Struct, frozen=True):
    """Devices that `decide` can't tell apart; `first` is the first of them by id.

    `lines` says on which side of the cuts they are; its form is the store's own affair. Bit n of `waivers`
    says that the n-th waiver of the cuts means their labels.
    """

    state: DeviceState
    statement: int | None
    lines: int
    count: int
    first: str
    waivers: int = 0


class Readings(msgspec.Struct, frozen=True):
    """A device's readings as last reported: the `results` of a NewReport, and when they were captured."""

    device: str
    labels: dict[str, str]
    seen_at: int | None
    results: str


class Survey(msgspec.Struct, frozen=True):
    """The selected devices as they were at one moment.

    `readings` are those of the first device of every group; `label_sets` are those that were selected, None
    for all; `absent` are expected devices that are not among the selected ones, sorted.
    """

    label_sets: list[int] | None
    groups: list[Group]
    readings: dict[str, Readings]
    absent: list[str]


class Pruned(msgspec.Struct, frozen=True):
    """How many rows of each kind were removed."""

    changes: int
    statements: int
    objects: int
    findings: int
    label_sets: int


class Deed(msgspec.Struct, frozen=True):
    """Who did what to which thing, and when. `details` hold no secrets."""

    at: int
    actor: str
    action: str
    target: str
    details: Mapping[str, str | int]


class AuditEntry(msgspec.Struct, frozen=True):
    """A deed as the audit log keeps it; `hash` covers it and every entry before it."""

    number: int
    deed: Deed
    hash: str


def entry_hash(number: int, deed: Deed, previous: str) -> str:
    """Return the hash of an entry of the audit log, which holds that of the one before it."""
    said = [number, deed.at, deed.actor, deed.action, deed.target, dict(deed.details), previous]
    return digest(canonical_json(said))


class ExpectedDevice(msgspec.Struct, frozen=True):
    """A device of the inventory, with the labels that it ought to have."""

    device: str
    labels: dict[str, str]


class Preauthorised(msgspec.Struct, frozen=True):
    """A key that a factory made known, with the hardware it belongs to. An empty `name` is any device id."""

    key_id: str
    public_key: str
    hardware: str
    name: str
    labels: dict[str, str]
    created_at: int


class HeldWaiver(msgspec.Struct, frozen=True):
    """A waiver as stored, with who gave it."""

    name: str
    path: str
    selector: str
    reason: str
    expires_at: int
    created_at: int
    created_by: str
    revoked_at: int | None = None
