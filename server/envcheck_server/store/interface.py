"""What the service asks of a store: plain values in and out, every method one transaction.

Methods block and may be called from any thread. Times are whole seconds since 1970 in UTC. Where a
decision must be atomic with what it was based on, the service hands in a pure function, and the store
calls it inside the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from envcheck.contract.wire import DeviceState
from envcheck.errors import EnvcheckError, Undetermined

Scope = Literal["enroll", "gate:read", "baseline:write", "operator", "admin"]


class StoreBusy(Undetermined):
    """The database is held by another process, or is not there, for longer than a request may wait."""


class StoreFull(EnvcheckError):
    """There is no room left to write."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token as stored: its hash, never itself. `uses` None is without limit."""

    id: str
    secret_hash: str
    scope: Scope
    created_at: int
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    uses: int | None = None
    used: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One public key that a device enrolled with. `token` is the id of the token it used."""

    device: str
    key_id: str
    public_key: str
    state: DeviceState
    epoch: int
    token: str
    hardware: str
    labels: dict[str, str]
    created_at: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a report claims, without what changes by the minute: a fingerprint and, by bundle, evidence.

    `id` is the first 64 bits of the digest of the rest, so that most of a fleet shares a few hundred small
    integers to group by.
    """

    id: int
    fingerprint: str
    evidence: dict[str, str]

    def objects(self) -> set[str]:
        """Return the digests that this statement refers to directly."""
        return {self.fingerprint, *self.evidence.values()}


@dataclass(frozen=True, slots=True)
class Device:
    """A device with the key it speaks with. `seen_at` is when its last report was captured, by our clock.

    `report` is the SHA-256 of the last body, `clock_offset` our clock minus the device's, both in seconds.
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


@dataclass(frozen=True, slots=True)
class EnrolmentFacts:
    """What a store knows when a device asks to be enrolled."""

    token: Token | None
    device: Device | None
    keys: list[Key]
    holder: str | None


@dataclass(frozen=True, slots=True)
class EnrolmentPlan:
    """What the service decided: keys and a device to write (None changes nothing), a use of the token."""

    key: Key
    device: Device | None = None
    write_key: bool = True
    use_token: bool = True


@dataclass(frozen=True, slots=True)
class NewReport:
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


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is kept of a bundle beside its bytes, for judging: baseline and training fingerprint."""

    sha256: str
    size: int
    release: str
    signer: str
    baseline: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Release:
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


Receipt = Literal["stored", "repeated", "older", "forked", "epoch", "key", "state", "clone", "gone"]
# Signs of two machines with one key.
CLONED: tuple[Receipt, ...] = ("clone", "forked")


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a report.

    `device` is the row as it was before, `missing` objects never seen, `releases` all that are not retired.
    """

    receipt: Receipt
    device: Device | None
    missing: list[str]
    releases: list[Release]


@dataclass(frozen=True, slots=True)
class FindingsKey:
    """What findings are a pure function of. `evidence` is empty where there is none."""

    bundle: str
    fingerprint: str
    evidence: str
    policy: str
    judge_version: int


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where lines are drawn: devices on one side of all of them share a verdict.

    `seen_before` is the oldest `seen_at` that still counts, `seen_until` the latest that can be; limits that
    are None draw no line.
    """

    bundle: str
    seen_before: int
    seen_until: int
    p50_ms: float | None = None
    p90_ms: float | None = None
    peak_memory_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Devices that `decide` can't tell apart; `first` is the first of them by id.

    `lines` says on which side of the cuts they are; its form is the store's own affair.
    """

    state: DeviceState
    statement: int | None
    lines: int
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class Readings:
    """A device's readings as last reported: the `results` of a NewReport, and when they were captured."""

    device: str
    labels: dict[str, str]
    seen_at: int | None
    results: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The selected devices as they were at one moment.

    `readings` are those of the first device of every group; `label_sets` are those that were selected, None
    for all; `absent` are expected devices that are not among the selected ones, sorted.
    """

    label_sets: list[int] | None
    groups: list[Group]
    readings: dict[str, Readings]
    absent: list[str]


class Tokens(Protocol):
    """Bearer tokens."""

    def add(self, token: Token) -> None:
        """Store a new token."""

    def find(self, secret_hash: str) -> Token | None:
        """Return the token with this hash."""

    def all(self) -> list[Token]:
        """Return every token, oldest first."""

    def revoke(self, token: str, now: int) -> bool:
        """Revoke by id; False when there is none. Revoking twice keeps the first time."""


class Devices(Protocol):
    """Devices and their keys."""

    def enrol(
        self,
        device: str,
        key_id: str,
        secret_hash: str,
        decide: Callable[[EnrolmentFacts], EnrolmentPlan],
    ) -> EnrolmentPlan:
        """Ask `decide` with the facts, and write its plan, in one transaction."""

    def find(self, device: str) -> Device | None:
        """Return a device by its id."""

    def find_by_key(self, key_id: str) -> tuple[Key, Device] | None:
        """Return the key of this id and the device it belongs to."""

    def keys(self, device: str) -> list[Key]:
        """Return every key of a device, oldest epoch first."""

    def change(
        self, device: str, plan: Callable[[Device, list[Key]], tuple[Device, list[Key]]]
    ) -> Device | None:
        """Replace a device and its keys by what `plan` makes of them; None when there is no such device."""


class Reports(Protocol):
    """The hot path."""

    def receive(
        self, batch: Sequence[NewReport], judge: Callable[[Device | None, NewReport], Receipt]
    ) -> list[Received]:
        """Store every report of `batch` that `judge` calls "stored", in one transaction, and answer in order.

        Durable when this returns. One that is among CLONED puts the device into quarantine instead.
        """

    def statements(self, ids: Collection[int]) -> dict[int, Statement]:
        """Return statements by id."""


class Objects(Protocol):
    """Sections, fingerprints and evidence: immutable bytes by digest."""

    def put(self, digest: str, kind: str, data: bytes, refers: Collection[str], now: int) -> None:
        """Store, with the digests of the objects that it refers to; storing again changes nothing."""

    def get(self, digests: Collection[str], kind: str) -> dict[str, bytes]:
        """Return those that are there and of this kind."""

    def absent(self, digests: Collection[str]) -> list[str]:
        """Return those that are not there, and those that the ones that are there refer to; sorted."""


class Releases(Protocol):
    """Bundles and releases, and findings once judged."""

    def put_bundle(self, bundle: Bundle, data: bytes | memoryview, now: int) -> None:
        """Store a bundle; storing again changes nothing."""

    def bundle(self, sha256: str) -> Bundle | None:
        """Return what is known of a bundle."""

    def read_bundle(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`, a piece at a time."""

    def put(self, release: Release, plan: Callable[[Release | None], Release | None]) -> Release:
        """Give `plan` the current revision; write what it returns (None: nothing); return what holds then."""

    def find(self, release: str) -> Release | None:
        """Return a release in its current revision."""

    def all(self) -> list[Release]:
        """Return every release in its current revision, retired ones too, newest release first."""

    def findings(self, keys: Collection[FindingsKey]) -> dict[FindingsKey, bytes]:
        """Return what was judged before."""

    def put_findings(self, findings: Mapping[FindingsKey, bytes], now: int) -> None:
        """Keep what was judged."""


class Fleet(Protocol):
    """Questions about many devices. `label_sets` None selects every device; revoked ones are left out."""

    def select(self, selects: Callable[[Mapping[str, str]], bool]) -> list[int]:
        """Return the label sets of devices that `selects` calls for."""

    def survey(
        self, selects: Callable[[Mapping[str, str]], bool] | None, cuts: Cuts, expected: Collection[str]
    ) -> Survey:
        """Count the devices that `selects` calls for (None: all) by all that `decide` needs to know of them.

        All of it is of one snapshot: one device that reports meanwhile must not speak for its old group.
        """

    def first(
        self, label_sets: Collection[int] | None, cuts: Cuts, groups: Sequence[Group], limit: int
    ) -> list[str]:
        """Return the first ids of the selected devices that are in any of `groups`."""

    def readings(self, devices: Collection[str]) -> dict[str, Readings]:
        """Return the readings of devices by id."""

    def page(
        self, label_sets: Collection[int] | None, after: str, limit: int, *, revoked: bool
    ) -> list[Device]:
        """Return the devices that follow `after` in the order of their ids."""


class Store(Protocol):
    """Everything that the collector remembers."""

    tokens: Tokens
    devices: Devices
    reports: Reports
    objects: Objects
    releases: Releases
    fleet: Fleet
    # Where large uploads lie until they are stored; None: wherever the system puts temporary files.
    scratch: Path | None

    def check(self) -> None:
        """Raise StoreBusy or StoreFull unless the store can be read and written."""

    def migrate(self) -> tuple[str, str]:
        """Bring the schema to the newest revision; return the revision before ("" if empty) and after."""

    def revision(self) -> str:
        """Return the schema's revision, "" for an empty database."""

    def stats(self) -> dict[str, int]:
        """Return row counts by table, and the size of the database in bytes as `bytes`."""

    def close(self) -> None:
        """Let go of every connection."""
