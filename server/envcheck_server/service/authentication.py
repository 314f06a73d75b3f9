"""Which device speaks: the key that signed a request says so, never the body."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envcheck.contract.http_signature import SignedRequest, claimed_key, read_signature
from envcheck.errors import BadInput
from envcheck_server.service.errors import Forbidden, Unauthenticated
from envcheck_server.service.signatures import is_signed_by, raw_key
from envcheck_server.service.times import Clock, written
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Device, Key

_MOST_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Speaker:
    """A device whose signature holds. Whether it may speak is not yet said."""

    device: str
    key_id: str
    created: int


class AuthenticationService:
    """Verifies signatures, and says why a device may not speak."""

    def __init__(self, store: Store, clock: Clock, window_s: int) -> None:
        self._store = store
        self._clock = clock
        self._window_s = window_s
        # Key id -> (device, the key's bytes). A key never changes its device, so this can't grow stale;
        # whether it is still accepted is asked of the store every time.
        self._known: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def knows(self, keyid: str) -> bool:
        """Tell whether `verify` will do without asking the store."""
        return keyid in self._known

    def learn(self, keyids: Sequence[str]) -> None:
        """Look keys up in the store, and remember those that it knows."""
        for keyid, (device, public_key) in self._store.devices.public_keys(keyids).items():
            self._known[keyid] = device, raw_key(public_key)
        while len(self._known) > _MOST_KEYS:
            self._known.popitem(last=False)

    def require(self, keyid: str) -> None:
        """Raise Unauthenticated unless the key was learnt."""
        if keyid not in self._known:
            raise _unknown_key()

    def verify(self, signed: SignedRequest) -> Speaker:
        """Return who signed; raises Unauthenticated."""
        known = self._known.get(signed.keyid)
        if known is None:
            self.learn([signed.keyid])
            known = self._known.get(signed.keyid)
        if known is None:
            raise _unknown_key()
        device, key = known
        if not is_signed_by(key, signed.signature, signed.base):
            raise Unauthenticated("the request's signature does not verify")
        return Speaker(device, signed.keyid, signed.created)

    def accepted(self, speaker: Speaker) -> Device:
        """Return the device if it may speak now; raises Forbidden, or Unauthenticated for an old request.

        `created` is compared after correcting it by the clock error that the device had with its last report,
        so that a device without a clock is not locked out.
        """
        found = self._store.devices.find_by_key(speaker.key_id)
        if found is None:
            raise _unknown_key()
        key, device = found
        if key.state != "accepted" or device.state != "accepted" or device.key_id != key.key_id:
            raise refusal(device, key)
        now = self._clock()
        errors = (now - speaker.created, now - speaker.created - device.clock_offset)
        if min(abs(error) for error in errors) > self._window_s:
            raise Unauthenticated(
                f"the request was signed at {_time(speaker.created)}, too far from now ({written(now)})",
                "send a report first: it tells the collector how wrong this device's clock is",
            )
        return device

    def refusal(self, key_id: str) -> BadInput:
        """Return why the device with this key may not speak."""
        found = self._store.devices.find_by_key(key_id)
        return _unknown_key() if found is None else refusal(found[1], found[0])


def read_claim(headers: Mapping[str, str]) -> str:
    """Return the id of the key that a request says it is signed with; raises Unauthenticated."""
    try:
        return claimed_key(headers)
    except BadInput as error:
        raise Unauthenticated(error.message, "devices sign every request: docs/wire.md") from None


def read_signed(method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]) -> SignedRequest:
    """Read a request's signature; raises Unauthenticated when there is none that counts."""
    try:
        return read_signature(method, path, query, body, headers)
    except BadInput as error:
        raise Unauthenticated(error.message, "devices sign every request: docs/wire.md") from None
    except UnicodeError:
        raise BadInput("the path is not percent-encoded") from None


def refusal(device: Device, key: Key) -> Forbidden:
    """Return why a device may not speak with this key."""
    name = device.device
    if "revoked" in (key.state, device.state):
        return Forbidden(f"{name}: this key was revoked", "enrol the device with a new key")
    if device.state == "quarantined":
        return Forbidden(
            f"{name} is in quarantine: two machines may use its key",
            f"an operator decides: envcheck-server device accept {name}, or revoke",
        )
    return Forbidden(
        f"{name}: this key waits for an operator", f"on the collector: envcheck-server device accept {name}"
    )


def _unknown_key() -> Unauthenticated:
    return Unauthenticated("the key is not known here", "enrol this device: envcheck enroll")


def _time(seconds: int) -> str:
    try:
        return written(seconds)
    except (ValueError, OverflowError):
        return str(seconds)
