"""Another key for this device: the old one signs for it, and a power cut at any moment loses neither."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec

from envcheck.contract.keys import key_id, rotation_statement
from envcheck.contract.wire import EnrolmentAnswer, KeyRotation
from envcheck.transport.client import send_rotation
from envcheck.transport.link import Link, Refused
from envcheck.transport.state import DeviceKey, State

# Not known, or not any more: as it is when the new key was taken already and the answer got lost.
_OUTDATED = (401, 403)


def rotate_key(state: State, connect: Callable[[DeviceKey], Link]) -> EnrolmentAnswer:
    """Make a new key and let the collector take it for the old one; goes on where an earlier try ended.

    `connect` returns a link that speaks with a key. Raises Unreachable: nothing is lost, try again; or
    Refused: the old key stays.
    """
    enrolled = state.enrolled()
    old, new = state.key(), state.make_next_key()
    statement = rotation_statement(enrolled.device, key_id(old.public_key), new.public_key)
    proof = base64.b64encode(new.sign(statement)).decode("ascii")
    rotation = KeyRotation(public_key=new.public_key, proof=proof)
    try:
        answer = send_rotation(connect(old), enrolled.device, rotation)
    except Refused as refused:
        answer = _again(state, connect(new), rotation, refused)
    state.take_next_key()
    changed = {"state": answer.state, "epoch": answer.epoch, "labels": answer.labels}
    state.save("enrolled", msgspec.structs.replace(enrolled, **changed))
    return answer


def _again(state: State, link: Link, rotation: KeyRotation, refused: Refused) -> EnrolmentAnswer:
    """Ask with the new key whether it was taken already; raises `refused` when it was not."""
    if refused.status in _OUTDATED:
        try:
            return send_rotation(link, state.enrolled().device, rotation)
        except Refused:
            pass
    # Both were heard and neither was answered with yes: the new key is nobody's.
    state.forget("key.next.pem")
    raise refused
