"""The state directory: this device's key, its enrolment, its sequence number, one run at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

from envcheck.contract.document import Document, Value, decode, encode
from envcheck.contract.http_signature import sign_request
from envcheck.contract.keys import generate_private_key, key_id, load_private_key, public_key_of
from envcheck.contract.wire import DeviceState
from envcheck.errors import BadInput
from envcheck.transport.files import refuse_write, seal, sync_directory, unseal, write_whole
from envcheck.transport.link import Credentials

D = TypeVar("D", bound=Document)

_NEXT_KEY = "key.next.pem"


class Enrolled(Document, frozen=True, kw_only=True):
    """What the collector said when this device enrolled. `hardware` is what was told to it then."""

    FORMAT: ClassVar[str] = "envcheck.enrolled/1.0"

    collector: str
    device: str
    epoch: int
    state: DeviceState
    hardware: str = ""
    labels: dict[str, str] = {}


class Counter(Document, frozen=True, kw_only=True):
    """The last sequence number that was used in an epoch."""

    FORMAT: ClassVar[str] = "envcheck.counter/1.0"

    epoch: int
    seq: int


class DeviceKey(Value, frozen=True, kw_only=True):
    """This device's key: `sign` makes an Ed25519 signature."""

    public_key: str
    sign: Callable[[bytes], bytes]

    def credentials(self, clock: Callable[[], float]) -> Credentials:
        """Sign requests with this key; `clock` tells seconds since 1970."""
        keyid = key_id(self.public_key)
        return lambda method, path, query, body: sign_request(
            method, path, query, bytes(body), int(clock()), keyid, self.sign
        )


class State:
    """A state directory. Files in it are written whole or not at all, and sealed against damage."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self) -> None:
        """Make the directory, readable by its owner only; raises BadInput when that can't be done."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._refuse(error) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this run alone; raises BadInput when another run has it.

        Or when others could put their own key, number or results in the place of this device's.
        """
        import fcntl

        try:
            mode = self.directory.stat().st_mode
            if mode & 0o022:
                raise BadInput(
                    f"the state directory {self.directory} can be written by other users",
                    f"chmod go-w {self.directory}",
                )
            descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refuse(error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BadInput(
                f"another run of envcheck uses the state directory {self.directory}",
                "wait until it has ended; two runs of one device must not report at once",
            ) from None
        finally:
            os.close(descriptor)

    def key(self) -> DeviceKey:
        """Return this device's key; raises BadInput when there is none, or when others can read it."""
        return self._key("key.pem")

    def make_key(self) -> DeviceKey:
        """Return this device's key, made on the first call."""
        if not self.has_key():
            self.write("key.pem", generate_private_key())
        return self.key()

    def has_key(self) -> bool:
        """Tell whether a key was made here."""
        return (self.directory / "key.pem").exists()

    def next_key(self) -> DeviceKey | None:
        """Return the key that is to take the place of this device's, None when it has no such key."""
        return self._key(_NEXT_KEY) if (self.directory / _NEXT_KEY).exists() else None

    def make_next_key(self) -> DeviceKey:
        """Return the key that is to take the place of this device's, made on the first call."""
        if self.next_key() is None:
            self.write(_NEXT_KEY, generate_private_key())
        return self._key(_NEXT_KEY)

    def take_next_key(self) -> None:
        """Put the next key in the place of this device's."""
        try:
            (self.directory / _NEXT_KEY).replace(self.directory / "key.pem")
            sync_directory(self.directory)
        except OSError as error:
            raise self._refuse(error) from None

    def _key(self, name: str) -> DeviceKey:
        path = self.directory / name
        try:
            pem, mode = path.read_bytes(), path.stat().st_mode
        except FileNotFoundError:
            raise self._not_enrolled() from None
        except OSError as error:
            raise self._refuse(error) from None
        if mode & 0o077:
            raise BadInput(f"the device key {path} can be read by other users", f"chmod 600 {path}")
        private = load_private_key(pem, str(path))
        return DeviceKey(public_key=public_key_of(private), sign=private.sign)

    def enrolled(self) -> Enrolled:
        """Return what is known of the enrolment; raises BadInput when this device is not enrolled."""
        enrolled = self.load("enrolled", Enrolled)
        if enrolled is None:
            raise self._not_enrolled()
        return enrolled

    def next_sequence(self, epoch: int) -> int:
        """Return the next sequence number of `epoch`, durable before it is used."""
        last = self.load("sequence", Counter)
        if last is None and (self.directory / "sequence").exists():
            raise BadInput(
                f"the sequence number in {self.directory} is damaged; a reused one would look like a clone",
                f"remove {self.directory} and enroll this device anew: envcheck enroll URL --token TOKEN",
            )
        seq = last.seq + 1 if last is not None and last.epoch == epoch else 1
        self.save("sequence", Counter(epoch=epoch, seq=seq))
        return seq

    def load(self, name: str, kind: type[D]) -> D | None:
        """Read a sealed document; None when it is not there or damaged."""
        path = self.directory / name
        try:
            data = unseal(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refuse(error) from None
        try:
            return None if data is None else decode(data, kind, str(path))
        except BadInput:  # of another version of envcheck
            return None

    def save(self, name: str, document: Document) -> None:
        """Write a sealed document."""
        self.write(name, seal(encode(document)))

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the directory; raises BadInput that says which and why not."""
        try:
            write_whole(self.directory / name, data)
        except OSError as error:
            raise self._refuse(error) from None

    def forget(self, name: str) -> None:
        """Remove a file of the directory, if it is there."""
        (self.directory / name).unlink(missing_ok=True)

    def _refuse(self, error: OSError) -> BadInput:
        refused = refuse_write("the state directory", self.directory, error)
        missing = isinstance(error, FileNotFoundError)
        return self._not_enrolled() if missing else BadInput(refused.message, _ELSEWHERE.format(refused.hint))

    def _not_enrolled(self) -> BadInput:
        return BadInput(
            f"this device is not enrolled: {self.directory} holds no key",
            "enroll it: envcheck enroll URL --token TOKEN",
        )


_ELSEWHERE = "{}, or name another directory as state_dir in the configuration"
