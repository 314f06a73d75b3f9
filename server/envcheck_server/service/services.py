"""Everything that the collector can do, made from a store and settings."""

from __future__ import annotations

import time
from dataclasses import dataclass

from envcheck_server.service.audit import AuditService
from envcheck_server.service.authentication import AuthenticationService
from envcheck_server.service.enrolment import EnrolmentService
from envcheck_server.service.fleet import FleetService
from envcheck_server.service.gate import GateService
from envcheck_server.service.inventory import InventoryService
from envcheck_server.service.judgements import JudgementService
from envcheck_server.service.leases import Leases
from envcheck_server.service.metrics import Metrics
from envcheck_server.service.objects import ObjectService
from envcheck_server.service.readiness import ReadinessService
from envcheck_server.service.releases import ReleaseService
from envcheck_server.service.reports import ReportService, judge_receipt
from envcheck_server.service.times import Clock
from envcheck_server.service.tokens import TokenService
from envcheck_server.service.waivers import WaiverService
from envcheck_server.service.writer import Writer
from envcheck_server.settings import Settings
from envcheck_server.store.interface import Store


@dataclass(frozen=True, slots=True)
class Services:
    """The collector without its HTTP."""

    store: Store
    writer: Writer
    tokens: TokenService
    enrolment: EnrolmentService
    authentication: AuthenticationService
    reports: ReportService
    objects: ObjectService
    releases: ReleaseService
    gate: GateService
    fleet: FleetService
    readiness: ReadinessService
    audit: AuditService
    inventory: InventoryService
    waivers: WaiverService
    metrics: Metrics


def make_services(settings: Settings, store: Store, clock: Clock = lambda: int(time.time())) -> Services:
    """Wire the services; the writer's thread runs from here until `writer.close()`."""
    metrics = Metrics(store.fleet.states)
    writer = Writer(
        metrics.watched(lambda batch: store.reports.receive(batch, judge_receipt)),
        capacity=settings.write_queue,
        batch=settings.write_batch,
        retry_after_s=settings.retry_after_s,
    )
    metrics.watch_queue(writer.__len__, settings.write_queue)
    leases = Leases(clock, settings.lease_s)
    authentication = AuthenticationService(store, clock, settings.signature_window_s)
    releases = ReleaseService(store, clock)
    judgements = JudgementService(store, clock)
    return Services(
        store=store,
        writer=writer,
        tokens=TokenService(store, clock),
        enrolment=EnrolmentService(store, clock),
        authentication=authentication,
        reports=ReportService(writer, authentication, clock, leases, settings.next_report_s),
        objects=ObjectService(store, clock, leases, settings.max_object_bytes, metrics.take_object),
        releases=releases,
        gate=GateService(store, releases, judgements, clock),
        fleet=make_fleet(store, clock),
        readiness=ReadinessService(store, writer),
        audit=AuditService(store),
        inventory=InventoryService(store, clock),
        waivers=WaiverService(store, clock),
        metrics=metrics,
    )


def make_fleet(store: Store, clock: Clock) -> FleetService:
    """Wire the fleet table alone, for commands that need no writer."""
    releases, judgements = ReleaseService(store, clock), JudgementService(store, clock)
    return FleetService(store, releases, judgements, GateService(store, releases, judgements, clock))
