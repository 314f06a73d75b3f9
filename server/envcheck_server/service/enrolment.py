"""Enrolment: whose key is accepted, which waits for an operator, and what operators may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from envcheck.contract.http_signature import SignedRequest
from envcheck.contract.keys import is_signed_by, key_id
from envcheck.contract.selector import is_device_id, is_label
from envcheck.contract.wire import DeviceState, Enrolment, EnrolmentAnswer
from envcheck.errors import BadInput
from envcheck_server.service.errors import Conflict, Forbidden, NotKnown, Unauthenticated
from envcheck_server.service.times import Clock
from envcheck_server.service.tokens import check_token, secret_hash
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Device, EnrolmentFacts, EnrolmentPlan, Key

_MAX_HARDWARE = 128

_Plan = Callable[[Device, list[Key]], tuple[Device, list[Key]]]


class EnrolmentService:
    """Takes devices in, and lets operators decide on them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def check(self, enrolment: Enrolment, signed: SignedRequest) -> None:
        """Refuse, without writing, what needs no closer look; raises BadInput or Unauthenticated."""
        _check(enrolment)
        if signed.keyid != key_id(enrolment.public_key) or not is_signed_by(
            enrolment.public_key, signed.signature, signed.base
        ):
            raise Unauthenticated("the request is not signed by the key that it enrols")
        check_token(self._store.tokens.find(secret_hash(enrolment.token)), self._clock())

    def enrol(self, enrolment: Enrolment, signed: SignedRequest) -> EnrolmentAnswer:
        """Enrol a device with the key that signed the request, once `check` let it pass.

        Raises Unauthenticated (the token), Forbidden (used up, revoked) or Conflict.
        """
        now = self._clock()
        plan = self._store.devices.enrol(
            enrolment.device,
            signed.keyid,
            secret_hash(enrolment.token),
            lambda facts: plan_enrolment(enrolment, signed.keyid, facts, now),
        )
        held = plan.device or self._store.devices.find(enrolment.device)
        labels = held.labels if held is not None and held.key_id == signed.keyid else {}
        return EnrolmentAnswer(
            device=enrolment.device, state=plan.key.state, epoch=plan.key.epoch, labels=labels
        )

    def accept(self, device: str, key: str = "") -> Device:
        """Accept the key that waits, named by `key` when several do; one accepted before is revoked."""
        return self._change(device, lambda found, keys: _accept(found, keys, key))

    def revoke(self, device: str) -> Device:
        """Revoke a device and every key of it; acts on its next request."""
        return self._change(
            device,
            lambda found, keys: (
                replace(found, state="revoked"),
                [replace(one, state="revoked") for one in keys],
            ),
        )

    def label(self, device: str, labels: Mapping[str, str], remove: tuple[str, ...] = ()) -> Device:
        """Set labels of a device and remove others; raises BadInput for what can't be a label."""
        for name, value in labels.items():
            if not is_label(name, value):
                raise BadInput(f"{name[:80]}={value[:80]} is not a label")

        def change(found: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
            kept = {name: value for name, value in found.labels.items() if name not in remove}
            return replace(found, labels={**kept, **labels}), keys

        return self._change(device, change)

    def _change(self, device: str, plan: _Plan) -> Device:
        changed = self._store.devices.change(device, plan)
        if changed is None:
            raise NotKnown(f"there is no device {device[:80]}", "see: envcheck-server device list")
        return changed


def plan_enrolment(enrolment: Enrolment, keyid: str, facts: EnrolmentFacts, now: int) -> EnrolmentPlan:
    """Decide what becomes of an enrolment.

    The same key again is answered as before. A token for one device accepts at once, one for many leaves the
    device pending. A second key for a known device waits for an operator, whatever the token: nothing is
    ever silently replaced.
    """
    token = facts.token
    known = next((one for one in facts.keys if one.key_id == keyid), None)
    check_token(token, now)
    if token is None or token.scope != "enroll":
        raise Forbidden("this token does not enrol devices", "it takes a token of the scope enroll")
    if facts.holder not in (None, enrolment.device):
        raise Conflict("this key belongs to another device", "every device makes a key of its own")
    if known is not None and (known.token == token.id or known.state != "pending"):
        return _again(known)
    if token.uses is not None and token.used >= token.uses:
        raise Forbidden("the token is used up", "ask whoever runs the collector for another one")
    first = facts.device is None or (known is not None and facts.device.key_id == keyid)
    state: DeviceState = "accepted" if first and token.uses == 1 else "pending"
    key = Key(
        device=enrolment.device,
        key_id=keyid,
        public_key=enrolment.public_key,
        state=state,
        epoch=known.epoch if known else 1 + max((one.epoch for one in facts.keys), default=0),
        token=token.id,
        hardware=enrolment.hardware,
        labels=dict(enrolment.labels),
        created_at=now,
    )
    device = _speaking_with(key, state, token.labels, now) if first else None
    return EnrolmentPlan(key=key, device=device)


def _again(known: Key) -> EnrolmentPlan:
    if known.state == "revoked":
        raise Forbidden("this device's key was revoked", "remove its state directory and enrol it anew")
    return EnrolmentPlan(key=known, write_key=False, use_token=False)


def _speaking_with(key: Key, state: DeviceState, labels: Mapping[str, str], now: int) -> Device:
    return Device(
        device=key.device,
        state=state,
        labels=dict(labels),
        key_id=key.key_id,
        epoch=key.epoch,
        enrolled_at=now,
        hardware=key.hardware,
    )


def _accept(found: Device, keys: list[Key], named: str) -> tuple[Device, list[Key]]:
    """Accept the newest key that waits, or that of a device in quarantine; its reports count anew."""
    waiting = [one for one in keys if one.state == "pending" and one.key_id.startswith(named)]
    if not waiting and found.state == "quarantined":
        waiting = [one for one in keys if one.key_id == found.key_id]
    if not waiting:
        raise Conflict(f"{found.device} has no key that waits to be accepted")
    if len(waiting) > 1:
        names = ", ".join(one.key_id[:8] for one in waiting)
        raise Conflict(f"{found.device} has several keys that wait: {names}", "name one with --key")
    chosen = replace(waiting[0], state="accepted")
    others = [
        replace(one, state="revoked") if one.state == "accepted" else one
        for one in keys
        if one.key_id != chosen.key_id
    ]
    if chosen.key_id == found.key_id:
        # Out of quarantine, the hardware that it reports next is the one that counts.
        hardware = "" if found.state == "quarantined" else found.hardware
        return replace(found, state="accepted", hardware=hardware), [*others, chosen]
    speaking = _speaking_with(chosen, "accepted", found.labels, chosen.created_at)
    return replace(speaking, enrolled_at=found.enrolled_at), [*others, chosen]


def _check(enrolment: Enrolment) -> None:
    if not is_device_id(enrolment.device):
        raise BadInput(
            f"device: {enrolment.device[:80]!r} can't name a device",
            "up to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends",
        )
    key_id(enrolment.public_key)
    if len(enrolment.hardware) > _MAX_HARDWARE:
        raise BadInput("hardware: longer than a digest")
    for name, value in enrolment.labels.items():
        if not is_label(name, value):
            raise BadInput(f"labels: {name[:80]!r}={value[:80]!r} is not a label")
