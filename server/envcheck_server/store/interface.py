"""What the service asks of a store: plain values in and out, every method one transaction.

Methods block and may be called from any thread. Times are whole seconds since 1970 in UTC. Where a
decision must be atomic with what it was based on, the service hands in a pure function, and the store
calls it inside the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from envcheck.contract.wire import DeviceState
from envcheck.errors import EnvcheckError, Undetermined
from envcheck_server.store.values import (
    AuditEntry,
    Bundle,
    Cuts,
    Deed,
    Device,
    EnrolmentFacts,
    EnrolmentPlan,
    ExpectedDevice,
    FindingsKey,
    Group,
    HeldWaiver,
    Key,
    NewReport,
    Preauthorised,
    Pruned,
    Readings,
    Receipt,
    Received,
    Release,
    Statement,
    Survey,
    Token,
)


class StoreBusy(Undetermined):
    """The database is held by another process, or is not there, for longer than a request may wait."""


class StoreFull(EnvcheckError):
    """There is no room left to write."""


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

    def expire(self, token: str, at: int) -> bool:
        """Let a token hold until `at` and no longer; False when there is none of this id."""


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

    def public_keys(self, key_ids: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return devices and public keys by the keys' ids, of those that are there."""

    def keys(self, device: str) -> list[Key]:
        """Return every key of a device, oldest epoch first."""

    def waiting(self, devices: Collection[str]) -> dict[str, list[str]]:
        """Return the ids of the keys that wait for an operator, by device."""

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

        Durable when this returns. One that is among CLONED puts the device into quarantine instead, which
        goes into the audit log.
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
        """Return the label sets that `selects` calls for, whether a device has them now or not."""

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

    def states(self) -> dict[DeviceState, int]:
        """Count the devices of every state that some are in; reads all of them."""

    def readings(self, devices: Collection[str]) -> dict[str, Readings]:
        """Return the readings of devices by id."""

    def page(
        self,
        label_sets: Collection[int] | None,
        after: str,
        limit: int,
        *,
        revoked: bool,
        state: DeviceState | None = None,
    ) -> list[Device]:
        """Return the devices that follow `after` in the order of their ids.

        Of the `state` "pending" are also those with another key that waits.
        """


class Audit(Protocol):
    """The audit log, which only grows."""

    def append(self, deeds: Sequence[Deed]) -> None:
        """Add entries for `deeds`, in the transaction that this thread has open, if it has one."""

    def entries(self, after: int = 0) -> Iterator[AuditEntry]:
        """Yield the entries that follow the number `after`."""

    def head(self) -> tuple[int, str]:
        """Return the number and the hash of the last entry, as the log itself remembers them."""


class Expected(Protocol):
    """The inventory of devices that ought to be there."""

    def replace(self, devices: Iterable[ExpectedDevice]) -> None:
        """Put this inventory in the place of the one before."""

    def count(self) -> int:
        """Return how many devices are expected."""

    def absent(
        self, selects: Callable[[Mapping[str, str]], bool] | None, limit: int, without: Collection[str] = ()
    ) -> tuple[int, list[str]]:
        """Count the expected devices of `selects` (None: all) that are not there; name the first of them.

        A revoked device is not there. Those of `without` are left out.
        """


class Preauthorisations(Protocol):
    """Keys that a factory made known beforehand."""

    def put(self, keys: Collection[Preauthorised]) -> None:
        """Store keys; one that is there already is replaced."""

    def find(self, key_id: str) -> Preauthorised | None:
        """Return what is known of a key beforehand."""


class Waivers(Protocol):
    """Waivers, by their name."""

    def change(self, name: str, plan: Callable[[HeldWaiver | None], HeldWaiver]) -> HeldWaiver:
        """Replace the waiver of this name by what `plan` makes of it, in one transaction."""

    def all(self) -> list[HeldWaiver]:
        """Return every waiver in the order of their names, the revoked and expired ones too."""

    def active(self, now: int) -> list[HeldWaiver]:
        """Return those that hold now, in the order of their names."""


class Store(Protocol):
    """Everything that the collector remembers."""

    # How people are told of it; nothing in it is secret.
    name: str
    tokens: Tokens
    devices: Devices
    reports: Reports
    objects: Objects
    releases: Releases
    fleet: Fleet
    audit: Audit
    expected: Expected
    preauthorised: Preauthorisations
    waivers: Waivers
    # Where large uploads lie until they are stored; None: wherever the system puts temporary files.
    scratch: Path | None

    def together(self) -> AbstractContextManager[None]:
        """Make one transaction of everything that this thread reads and writes inside the block."""

    def check(self) -> None:
        """Raise StoreBusy or StoreFull unless the store can be read and written."""

    def migrate(self) -> tuple[str, str]:
        """Bring the schema to the newest revision; return the revision before ("" if empty) and after."""

    def revision(self) -> str:
        """Return the schema's revision, "" for an empty database."""

    def stats(self) -> dict[str, int]:
        """Return row counts by table, and the size of the database in bytes as `bytes`."""

    def prune(self, history_before: int, evidence_before: int) -> Pruned:
        """Remove history and evidence from before these times, and what nothing refers to any more.

        Other processes may store reports meanwhile: what one refers to stays, or is asked for again.
        """

    def sizes(self) -> dict[str, int]:
        """Return bytes on the disk by table, its indices among them; empty where that is not known."""

    def close(self) -> None:
        """Let go of every connection."""
