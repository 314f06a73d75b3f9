"""The fleet table: devices in the order of their ids, with what is known of each."""

from __future__ import annotations

from collections.abc import Mapping

from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.selector import parse_selector
from envcheck.contract.verdict import Verdict
from envcheck.contract.wire import DeviceState, FleetAnswer, FleetDevice
from envcheck_server.service.gate import GateService, worst
from envcheck_server.service.judgements import JudgementService, unknown_sections
from envcheck_server.service.releases import ReleaseService
from envcheck_server.service.times import written
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Device, Group, Statement

_PAGE = 500


class FleetService:
    """Answers what devices there are."""

    def __init__(
        self, store: Store, releases: ReleaseService, judgements: JudgementService, gate: GateService
    ) -> None:
        self._store = store
        self._releases = releases
        self._judgements = judgements
        self._gate = gate

    def page(
        self,
        selector: str = "",
        release: str = "",
        after: str = "",
        limit: int = _PAGE,
        *,
        state: DeviceState | None = None,
    ) -> FleetAnswer:
        """Return the devices that follow `after`, with their verdict when a release is named.

        Of the `state` "pending" are also those that have another key which waits. Raises BadInput for a
        selector that can't be read, NotKnown for a release that is not here.
        """
        wanted = parse_selector(selector)
        label_sets = self._store.fleet.select(wanted.matches) if wanted.terms else None
        devices = self._store.fleet.page(label_sets, after, limit, revoked=True, state=state)
        statements = self._store.reports.statements(
            {device.statement for device in devices if device.statement is not None}
        )
        facts = self._judgements.fingerprints({one.fingerprint for one in statements.values()})
        waiting = self._store.devices.waiting([device.device for device in devices])
        verdicts = self._verdicts(release, devices, statements) if release else {}
        return FleetAnswer(
            devices=[
                _row(
                    device,
                    statements,
                    facts,
                    verdicts.get(device.device),
                    waiting.get(device.device, []),
                )
                for device in devices
            ],
            next=devices[-1].device if len(devices) == limit else "",
        )

    def _verdicts(
        self, release: str, devices: list[Device], statements: Mapping[int, Statement]
    ) -> dict[str, Verdict]:
        held = self._judgements.hold(self._releases.find(release))
        judged = self._gate.judged(held, statements)
        readings = self._store.fleet.readings([device.device for device in devices])
        return {
            device.device: self._gate.verdict(held, _alone(device), judged, readings.get(device.device))
            for device in devices
            if device.state != "revoked"
        }


def _alone(device: Device) -> Group:
    return Group(device.state, device.statement, 0, 1, device.device)


def _row(
    device: Device,
    statements: Mapping[int, Statement],
    facts: Mapping[str, SharedFingerprint],
    verdict: Verdict | None,
    waiting: list[str],
) -> FleetDevice:
    statement = statements.get(device.statement) if device.statement is not None else None
    fingerprint = statement.fingerprint if statement else ""
    known = facts.get(fingerprint)
    finding = worst(verdict) if verdict else None
    return FleetDevice(
        device=device.device,
        state=device.state,
        labels=device.labels,
        last_seen=written(device.received_at),
        fingerprint=fingerprint,
        python=_fact(known, "python", "version"),
        onnxruntime=_fact(known, "onnxruntime", "version") or _package(known, "onnxruntime"),
        outcome=verdict.outcome if verdict else None,
        reason=(finding.cause or finding.message) if finding else "",
        waiting=waiting,
        unknown_sections=unknown_sections(known),
    )


def _fact(fingerprint: SharedFingerprint | None, section: str, name: str) -> str:
    found = fingerprint.sections.get(section) if fingerprint else None
    value = found.facts.get(name) if found else None
    return value if isinstance(value, str) else ""


def _package(fingerprint: SharedFingerprint | None, name: str) -> str:
    section = fingerprint.sections.get("packages") if fingerprint else None
    found = section.facts.get(name) if section else None
    value = found.get("version") if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""
