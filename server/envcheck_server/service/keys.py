"""What becomes of a device's keys: decided here, of plain values, and written by whoever asks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from msgspec.structs import replace

from envcheck.contract.keys import key_id, rotation_statement
from envcheck.contract.wire import DeviceState, Enrolment, KeyRotation
from envcheck.errors import BadInput
from envcheck_server.service.errors import Conflict, Forbidden
from envcheck_server.service.signatures import is_signed_by, raw_key
from envcheck_server.service.tokens import check_token
from envcheck_server.store.values import Device, EnrolmentFacts, EnrolmentPlan, Key, Preauthorised, Token

# How much of an id of hardware a factory names; devices send as much.
HARDWARE_DIGITS = 32


def plan_enrolment(enrolment: Enrolment, keyid: str, facts: EnrolmentFacts, now: int) -> EnrolmentPlan:
    """Decide what becomes of an enrolment.

    The same key again is answered as before. A token for one device accepts at once, one for many leaves the
    device pending. A key that was preauthorised needs no token: on its own hardware it is accepted, on any
    other it waits. A second key for a known device waits for an operator, whatever the token: nothing is
    ever silently replaced.
    """
    token, beforehand = facts.token, facts.preauthorised
    known = next((one for one in facts.keys if one.key_id == keyid), None)
    if beforehand is None:
        token = _enrols(token, now)
    if facts.holder not in (None, enrolment.device):
        raise Conflict("this key belongs to another device", "every device makes a key of its own")
    if known is not None and (known.state != "pending" or (token is not None and known.token == token.id)):
        return _again(known)
    if beforehand is None and token is not None and token.uses is not None and token.used >= token.uses:
        raise Forbidden("the token is used up", "ask whoever runs the collector for another one")
    first = facts.device is None or (known is not None and facts.device.key_id == keyid)
    sure = _fits(beforehand, enrolment) if beforehand else token is not None and token.uses == 1
    state: DeviceState = "accepted" if first and sure else "pending"
    key = Key(
        device=enrolment.device,
        key_id=keyid,
        public_key=enrolment.public_key,
        state=state,
        epoch=known.epoch if known else 1 + max((one.epoch for one in facts.keys), default=0),
        token="" if beforehand or token is None else token.id,
        hardware=hardware_name(enrolment.hardware),
    )
    labels = beforehand.labels if beforehand else token.labels if token else {}
    device = _speaking_with(key, state, labels, now) if first else None
    return EnrolmentPlan(key=key, device=device, use_token=beforehand is None)


def hardware_name(hardware: str) -> str:
    """Return the first 64 bits of an id of hardware: enough to tell that a device has moved to another."""
    return hardware[:16]


def _enrols(token: Token | None, now: int) -> Token:
    check_token(token, now)
    if token is None or token.scope != "enroll":
        raise Forbidden("this token does not enrol devices", "it takes a token of the scope enroll")
    return token


def _fits(beforehand: Preauthorised, enrolment: Enrolment) -> bool:
    if beforehand.name not in ("", enrolment.device):
        return False
    return beforehand.hardware[:HARDWARE_DIGITS] == enrolment.hardware[:HARDWARE_DIGITS]


def _again(known: Key) -> EnrolmentPlan:
    if known.state == "revoked":
        raise Forbidden("this device's key was revoked", "remove its state directory and enrol it anew")
    return EnrolmentPlan(key=known, write_key=False, use_token=False)


def _speaking_with(key: Key, state: DeviceState, labels: Mapping[str, str], enrolled_at: int) -> Device:
    return Device(
        device=key.device,
        state=state,
        labels=dict(labels),
        key_id=key.key_id,
        epoch=key.epoch,
        enrolled_at=enrolled_at,
        hardware=key.hardware,
    )


def accept_key(found: Device, keys: list[Key], named: str) -> tuple[Device, list[Key]]:
    """Accept the newest key that waits, or that of a device in quarantine; its reports count anew."""
    waiting = [one for one in keys if one.state == "pending" and one.key_id.startswith(named)]
    if not waiting and found.state == "quarantined":
        waiting = [one for one in keys if one.key_id == found.key_id]
    chosen = replace(_only(found, waiting), state="accepted")
    others = [
        replace(one, state="revoked") if one.state == "accepted" else one
        for one in keys
        if one.key_id != chosen.key_id
    ]
    if chosen.key_id == found.key_id:
        # Out of quarantine, the hardware that it reports next is the one that counts.
        hardware = "" if found.state == "quarantined" else found.hardware
        return replace(found, state="accepted", hardware=hardware), [*others, chosen]
    return _speaking_with(chosen, "accepted", found.labels, found.enrolled_at), [*others, chosen]


def reject_key(found: Device, keys: list[Key], named: str) -> tuple[Device, list[Key]]:
    """Revoke the key that waits. A device that has no other key is revoked with it."""
    waiting = [one for one in keys if one.state == "pending" and one.key_id.startswith(named)]
    chosen = replace(_only(found, waiting), state="revoked")
    alone = chosen.key_id == found.key_id
    return (replace(found, state="revoked") if alone else found), [chosen]


def rotate_key(found: Device, keys: list[Key], rotation: KeyRotation, by: str) -> tuple[Device, list[Key]]:
    """Put a device's new key in the place of the one that it speaks with. Its reports go on counting.

    Raises BadInput for a proof that does not hold, Conflict for a key that the device had before.
    """
    keyid = key_id(rotation.public_key)
    old = next(one for one in keys if one.key_id == by)
    if any(one.key_id == keyid for one in keys):
        raise Conflict(f"{found.device} had this key before", "make a new one: envcheck enroll --rotate")
    proof = _decode(rotation.proof)
    statement = rotation_statement(found.device, by, rotation.public_key)
    if not is_signed_by(raw_key(rotation.public_key), proof, statement):
        raise BadInput("proof: it is not the new key's signature of this rotation")
    new = replace(old, key_id=keyid, public_key=rotation.public_key, token="")
    return replace(found, key_id=keyid), [replace(old, state="revoked"), new]


def _only(found: Device, waiting: list[Key]) -> Key:
    if not waiting:
        raise Conflict(f"{found.device} has no key that waits for an operator")
    if len(waiting) > 1:
        names = ", ".join(one.key_id[:8] for one in waiting)
        raise Conflict(f"{found.device} has several keys that wait: {names}", "name one with --key")
    return waiting[0]


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("proof: it is not base64") from None
