"""Reports: what a device states is checked, judged new or known, and answered."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import msgspec

from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.document import decode
from envcheck.contract.wire import MODEL_READING, UNREADABLE, Report, ReportAnswer, Result
from envcheck.errors import BadInput
from envcheck_server.service.authentication import AuthenticationService, Speaker
from envcheck_server.service.errors import Conflict
from envcheck_server.service.keys import hardware_name
from envcheck_server.service.leases import Leases
from envcheck_server.service.releases import offers
from envcheck_server.service.schedule import next_report
from envcheck_server.service.times import Clock, read_seconds
from envcheck_server.service.writer import Writer
from envcheck_server.store.values import CLONED, Device, NewReport, Receipt, Received, Statement, report_name

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_RESULTS = 256
_LARGEST = 2**63 - 1
# Statements of more results than this are rare, and not kept in memory.
_MOST_REMEMBERED = 16


class ReportService:
    """Takes reports in."""

    def __init__(
        self,
        writer: Writer,
        authentication: AuthenticationService,
        clock: Clock,
        leases: Leases,
        next_report_s: int,
    ) -> None:
        self._writer = writer
        self._authentication = authentication
        self._clock = clock
        self._leases = leases
        self._next_report_s = next_report_s

    def read(self, speaker: Speaker, body: bytes) -> NewReport:
        """Check a report's body; raises BadInput with the path of what does not fit."""
        report = decode(body, Report, "the report")
        _check(report)
        now = self._clock()
        captured = read_seconds(report.captured_at, "captured_at")
        return NewReport(
            device=speaker.device,
            key_id=speaker.key_id,
            epoch=report.epoch,
            seq=report.seq,
            report=digest(body),
            statement=make_statement(report),
            # Both times are of the device's clock, however wrong that is: their difference is the age.
            seen_at=max(0, now - max(0, speaker.created - captured)),
            received_at=now,
            clock_offset=now - speaker.created,
            hardware=hardware_name(report.hardware),
            readings=_json(_readings_beside(report)),
            results=_json({bundle: _readings(result) for bundle, result in report.results.items()}),
        )

    async def receive(self, new: NewReport) -> Received:
        """Hand a report to the writer; returns once it is on the disk."""
        return await self._writer.report(new)

    def answer(self, new: NewReport, received: Received) -> ReportAnswer:
        """Say what was stored, what is missing, and what is meant for this device.

        Raises Conflict, or Forbidden when the device may not speak.
        """
        device = received.device
        if device is None or received.receipt in ("gone", "key", "state"):
            raise self._authentication.refusal(new.key_id)
        if received.receipt not in ("stored", "repeated"):
            raise _refusal(new, device, received.receipt)
        # The same report again is answered the same: counted from when it was stored.
        stored_at = device.received_at if received.receipt == "repeated" else None
        return ReportAnswer(
            stored=new.report,
            missing=self._leases.grant(new.device, received.missing),
            releases=offers(received.releases, device.labels),
            next_report_s=next_report(new.device, new.seq, stored_at or new.received_at, self._next_report_s),
        )


def judge_receipt(device: Device | None, new: NewReport) -> Receipt:
    """Say what a report is to a device as it stands.

    The sequence number makes replays harmless: a report counts once, and never after a later one.
    """
    receipt: Receipt = "stored"
    if device is None:
        receipt = "gone"
    elif device.key_id != new.key_id:
        receipt = "key"
    elif device.state != "accepted":
        receipt = "state"
    elif device.epoch != new.epoch:
        receipt = "epoch"
    elif new.seq == device.seq:
        receipt = "repeated" if report_name(new.report) == device.report else "forked"
    elif new.seq < device.seq:
        # One that was sent before, however late it comes, must not accuse anybody.
        receipt = "clone" if _moved(device, new) and _signed_later(device, new) else "older"
    elif _moved(device, new):
        receipt = "clone"
    return receipt


def _moved(device: Device, new: NewReport) -> bool:
    return bool(device.hardware and new.hardware and device.hardware != new.hardware)


def _signed_later(device: Device, new: NewReport) -> bool:
    """Tell whether a report was signed after the last stored one, by the clock of whoever signed."""
    if device.received_at is None:
        return False
    return new.received_at - new.clock_offset > device.received_at - device.clock_offset


def make_statement(report: Report) -> Statement:
    """Return what a report claims, named by its digest."""
    evidence = tuple((bundle, result.evidence) for bundle, result in sorted(report.results.items()))
    name = _name_statement if len(evidence) <= _MOST_REMEMBERED else _name_statement.__wrapped__
    return name(report.fingerprint, evidence, _deployed(report))


@lru_cache(maxsize=1024)
def _name_statement(fingerprint: str, evidence: tuple[tuple[str, str], ...], model: str) -> Statement:
    """Name a claim; whole fleets make the same, again and again."""
    results = dict(evidence)
    claim = canonical_json([fingerprint, results, *([model] if model else [])])
    number = int.from_bytes(hashlib.sha256(claim).digest()[:8], "big", signed=True)
    return Statement(number, fingerprint, results, model)


def _deployed(report: Report) -> str:
    """Return the digest of the deployed model; "" where the device names none, "unreadable" for all else."""
    told = report.readings.get(MODEL_READING, "")
    return told if isinstance(told, str) and (told == "" or is_digest(told)) else UNREADABLE


def _readings_beside(report: Report) -> dict[str, bool | int | float | str]:
    """Return the readings without what the statement holds for all its devices."""
    return {name: value for name, value in report.readings.items() if name != MODEL_READING}


def _check(report: Report) -> None:
    if not 0 <= report.seq <= _LARGEST or not 0 <= report.epoch <= 2**31 - 1:
        raise BadInput("the report's seq or epoch is out of range")
    if len(report.results) > _MOST_RESULTS:
        raise BadInput(f"results: more than {_MOST_RESULTS}")
    if len(report.hardware) > 128:
        raise BadInput("hardware: longer than a digest")
    _check_digest(report.fingerprint, "fingerprint")
    for bundle, result in report.results.items():
        _check_digest(bundle, "results")
        _check_digest(result.evidence, f"results.{bundle}.evidence")
        read_seconds(result.measured_at, f"results.{bundle}.measured_at")


def is_digest(text: str) -> bool:
    """Tell whether `text` is a SHA-256 as it is written everywhere: 64 lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def _check_digest(text: str, path: str) -> None:
    if not is_digest(text):
        raise BadInput(f"{path}: {text[:80]!r} is not a SHA-256 in hexadecimal")


def _readings(result: Result) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(result)
    del fields["evidence"]
    return fields


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode("utf-8")


def _why_older(device: Device, new: NewReport) -> str:
    """Say what made a number go back, as far as that is known."""
    if not _signed_later(device, new):
        return ": it is late, or repeated"
    if device.hardware and device.hardware == new.hardware:
        return ", on the same hardware: this device was set back to an older copy of itself (a re-image)"
    return ": this device was set back to an older copy of itself, or another machine has its key"


def _refusal(new: NewReport, device: Device, receipt: Receipt) -> Conflict:
    name = device.device
    reasons = {
        "clone": "it reports from other hardware than it enrolled with",
        "forked": f"another report {new.seq} was stored: two machines use one key",
        "epoch": f"the report is of epoch {new.epoch}, the device in epoch {device.epoch}",
        "older": f"report {new.seq} comes after report {device.seq} was stored{_why_older(device, new)}",
    }
    if receipt in CLONED:
        return Conflict(
            f"{name}: {reasons[receipt]}; it is now in quarantine",
            f"an operator decides: envcheck-server device accept {name}, or revoke",
        )
    return Conflict(f"{name}: {reasons[receipt]}", "remove the device's state directory and enrol it anew")
