"""Enrolment: whose key is accepted, which waits for an operator, and what operators may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from envcheck.contract.http_signature import SignedRequest
from envcheck.contract.keys import key_id
from envcheck.contract.selector import is_device_id, is_label
from envcheck.contract.wire import Enrolment, EnrolmentAnswer, KeyRotation
from envcheck.errors import BadInput
from envcheck_server.service.audit import LOCAL, Recorder, together, written_labels
from envcheck_server.service.authentication import Speaker
from envcheck_server.service.errors import Conflict, Forbidden, NotKnown, Unauthenticated
from envcheck_server.service.keys import accept_key, plan_enrolment, reject_key, rotate_key
from envcheck_server.service.signatures import is_signed_by, raw_key
from envcheck_server.service.times import Clock
from envcheck_server.service.tokens import check_token, secret_hash
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Device, EnrolmentPlan, Key

_MAX_HARDWARE = 128

_Plan = Callable[[Device, list[Key]], tuple[Device, list[Key]]]


class EnrolmentService:
    """Takes devices in, and lets operators decide on them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._recorder = Recorder(store, clock)

    def check(self, enrolment: Enrolment, signed: SignedRequest) -> None:
        """Refuse, without writing, what needs no closer look; raises BadInput or Unauthenticated."""
        _check(enrolment)
        if signed.keyid != key_id(enrolment.public_key) or not is_signed_by(
            raw_key(enrolment.public_key), signed.signature, signed.base
        ):
            raise Unauthenticated("the request is not signed by the key that it enrols")
        if self._store.preauthorised.find(signed.keyid) is not None:
            return
        if not enrolment.token:
            raise Unauthenticated(
                "the enrolment carries no token, and its key was not preauthorised",
                "ask whoever runs the collector for a token",
            )
        check_token(self._store.tokens.find(secret_hash(enrolment.token)), self._clock())

    @together
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
        if plan.write_key:
            self._record_enrolment(plan, enrolment.labels)
        held = plan.device or self._store.devices.find(enrolment.device)
        labels = held.labels if held is not None and held.key_id == signed.keyid else {}
        return EnrolmentAnswer(
            device=enrolment.device, state=plan.key.state, epoch=plan.key.epoch, labels=labels
        )

    @together
    def rotate(self, speaker: Speaker, rotation: KeyRotation) -> EnrolmentAnswer:
        """Replace the key of a device that signed with it; asked again with the new key, the same answer.

        Raises BadInput, Forbidden or Conflict.
        """
        keyid = key_id(rotation.public_key)
        if keyid == speaker.key_id:
            held = self._store.devices.find(speaker.device)
        else:
            held = self._replace(speaker, rotation, keyid)
        if held is None:
            raise NotKnown(f"there is no device {speaker.device}")
        return EnrolmentAnswer(device=held.device, state=held.state, epoch=held.epoch, labels=held.labels)

    @together
    def accept(self, device: str, key: str = "", *, by: str = LOCAL) -> Device:
        """Accept the key that waits, named by `key` when several do; one accepted before is revoked."""
        changed = self._change(device, lambda found, keys: accept_key(found, keys, key))
        self._recorder.record(by, "device.accept", device, key=changed.key_id, epoch=changed.epoch)
        return changed

    @together
    def reject(self, device: str, key: str = "", *, by: str = LOCAL) -> str:
        """Turn the key that waits away, named by `key` when several do; return its id."""
        rejected: list[Key] = []

        def plan(found: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
            changed, these = reject_key(found, keys, key)
            rejected.extend(these)
            return changed, these

        self._change(device, plan)
        self._recorder.record(by, "device.reject", device, key=rejected[0].key_id)
        return rejected[0].key_id

    @together
    def revoke(self, device: str, *, by: str = LOCAL) -> Device:
        """Revoke a device and every key of it; acts on its next request."""
        changed = self._change(device, _revoke)
        self._recorder.record(by, "device.revoke", device)
        return changed

    @together
    def label(
        self, device: str, labels: Mapping[str, str], remove: tuple[str, ...] = (), *, by: str = LOCAL
    ) -> Device:
        """Set labels of a device and remove others; raises BadInput for what can't be a label."""
        check_labels(labels, "labels")

        def change(found: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
            kept = {name: value for name, value in found.labels.items() if name not in remove}
            return replace(found, labels={**kept, **labels}), keys

        changed = self._change(device, change)
        self._recorder.record(by, "device.label", device, labels=written_labels(changed.labels))
        return changed

    def _change(self, device: str, plan: _Plan) -> Device:
        changed = self._store.devices.change(device, plan)
        if changed is None:
            raise NotKnown(f"there is no device {device[:80]}", "see: envcheck-server device list")
        return changed

    def _replace(self, speaker: Speaker, rotation: KeyRotation, keyid: str) -> Device:
        if self._store.devices.find_by_key(keyid) is not None:
            raise Conflict("this key is known already", "make a new one: envcheck enroll --rotate")

        def plan(found: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
            # Looked at again: since the request was let in, an operator may have decided otherwise.
            if found.state != "accepted" or found.key_id != speaker.key_id:
                raise Forbidden(f"{found.device}: the key that signed is not the one it speaks with")
            return rotate_key(found, keys, rotation, speaker.key_id)

        changed = self._change(speaker.device, plan)
        by = f"key:{speaker.key_id}"
        self._recorder.record(by, "device.rotate", speaker.device, key=keyid, epoch=changed.epoch)
        return changed

    def _record_enrolment(self, plan: EnrolmentPlan, proposed: Mapping[str, str]) -> None:
        key = plan.key
        proposals = {"labels": written_labels(proposed)} if proposed else {}
        self._recorder.record(
            f"key:{key.key_id}",
            "device.enrol",
            key.device,
            state=key.state,
            epoch=key.epoch,
            hardware=key.hardware,
            token=key.token or "preauthorised",
            **proposals,
        )


def check_labels(labels: Mapping[str, str], where: str) -> None:
    """Raise BadInput that names `where` for what can't be a label."""
    for name, value in labels.items():
        if not is_label(name, value):
            raise BadInput(
                f"{where}: {name[:80]!r}={value[:80]!r} is not a label",
                "a label is KEY=VALUE of letters, digits, '.', '_' and '-', at most 63 characters each",
            )


def check_device_id(device: str, where: str) -> None:
    """Raise BadInput that names `where` for what can't name a device."""
    if not is_device_id(device):
        raise BadInput(
            f"{where}: {device[:80]!r} can't name a device",
            "up to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends",
        )


def _revoke(found: Device, keys: list[Key]) -> tuple[Device, list[Key]]:
    return replace(found, state="revoked"), [replace(one, state="revoked") for one in keys]


def _check(enrolment: Enrolment) -> None:
    check_device_id(enrolment.device, "device")
    key_id(enrolment.public_key)
    if len(enrolment.hardware) > _MAX_HARDWARE:
        raise BadInput("hardware: longer than a digest")
    check_labels(enrolment.labels, "labels")
