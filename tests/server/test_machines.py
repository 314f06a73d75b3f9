"""Enrolment and ingestion as machines: whatever comes in whatever order, what must hold holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from support.collector import Device

from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.wire import EnrolmentAnswer, Report, ReportAnswer
from envcheck.errors import BadInput
from envcheck_server.store.values import report_name

QUICK = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SLOTS = st.integers(0, 2)
HARDWARE = st.sampled_from(["", "aa" * 16, "bb" * 16])


class Enrolments(RuleBasedStateMachine):
    """Three machines that all say they are one device, tokens of both kinds, an operator."""

    collector: Any
    counter: Iterator[int]

    @initialize()
    def begin(self) -> None:
        self.name = f"d-{next(self.counter)}"
        self.machines = [Device(self.collector.http, self.name) for _ in range(3)]
        # Keys for which an operator, or a token for one device, said yes.
        self.agreed: set[str] = set()
        self.revoked: set[str] = set()

    def row(self) -> Any:
        return self.collector.services.store.devices.find(self.name)

    def accepted(self) -> list[str]:
        keys = self.collector.services.store.devices.keys(self.name)
        return [key.key_id for key in keys if key.state == "accepted"]

    @rule(slot=SLOTS, uses=st.sampled_from([1, 2, None]), hardware=HARDWARE)
    def enrol(self, slot: int, uses: int | None, hardware: str) -> None:
        machine, before = self.machines[slot], self.row()
        answer = machine.ask_enrolment(self.collector.token(uses=uses), hardware=hardware)
        if machine.keyid in self.revoked:
            assert answer.status_code == 403
            return
        told = decode(answer.content, EnrolmentAnswer, "the answer")
        machine.epoch = told.epoch
        first = before is None or before.key_id == machine.keyid
        if uses == 1 and first and told.state == "accepted":
            self.agreed.add(machine.keyid)
        if before is not None and before.key_id != machine.keyid and machine.keyid not in self.agreed:
            assert told.state == "pending", "a second key was taken silently"

    @rule(slot=SLOTS)
    def accept(self, slot: int) -> None:
        self.decide("accept", slot)

    @rule(slot=SLOTS)
    def reject(self, slot: int) -> None:
        self.decide("reject", slot)

    def decide(self, deed: str, slot: int) -> None:
        keyid, before = self.machines[slot].keyid, self.accepted()
        try:
            getattr(self.collector.services.enrolment, deed)(self.name, keyid)
        except BadInput:
            return
        chosen = self.row().key_id if deed == "accept" else keyid
        if deed == "accept":
            self.agreed.add(chosen)
            self.revoked |= {key for key in before if key != chosen}
        else:
            self.revoked.add(chosen)

    @precondition(lambda self: self.row() is not None)
    @rule()
    def revoke(self) -> None:
        self.revoked |= {key.key_id for key in self.collector.services.store.devices.keys(self.name)}
        self.collector.services.enrolment.revoke(self.name)

    @rule(slot=SLOTS)
    def speak(self, slot: int) -> None:
        machine = self.machines[slot]
        answer = machine.put_report(machine.compose())
        row = self.row()
        may = row is not None and row.state == "accepted" and row.key_id == machine.keyid
        assert (answer.status_code in (200, 409)) == may, answer.text
        if not may:
            assert answer.status_code in (401, 403)

    @invariant()
    def one_key_speaks_and_somebody_agreed_to_it(self) -> None:
        accepted = self.accepted()
        assert len(accepted) <= 1
        assert set(accepted) <= self.agreed
        assert not set(accepted) & self.revoked
        row = self.row()
        if row is not None and row.state == "accepted":
            assert accepted == [row.key_id]


class Ingestion(RuleBasedStateMachine):
    """One key on two machines: reports, resends in any order, restarts, restored images, stale clocks."""

    collector: Any
    counter: Iterator[int]

    @initialize()
    def begin(self) -> None:
        self.one = self.collector.device(f"r-{next(self.counter)}")
        self.sent: list[Report] = []
        self.stored: dict[int, str] = {}
        self.aside = False

    def row(self) -> Any:
        return self.collector.services.store.devices.find(self.one.name)

    def put(self, report: Report) -> None:
        before = self.row()
        answer = self.one.put_report(report)
        after, body = self.row(), digest(encode(report))
        if answer.status_code == 200:
            assert before.state == "accepted"
            assert decode(answer.content, ReportAnswer, "the answer").stored == body
            assert self.stored.setdefault(report.seq, body) == body, "two reports were taken for one number"
            assert (after.seq, after.report) == (report.seq, report_name(body))
            assert report.seq >= before.seq
        else:
            assert answer.status_code in (403, 409), answer.text
            assert (after.seq, after.report, after.received_at) == (
                before.seq,
                before.report,
                before.received_at,
            )
        self.aside = after.state == "quarantined"

    @rule(hardware=HARDWARE, skip=st.integers(0, 2))
    def report(self, hardware: str, skip: int) -> None:
        self.one.seq += skip
        self.sent.append(self.one.compose(hardware=hardware))
        self.put(self.sent[-1])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        self.put(data.draw(st.sampled_from(self.sent)))

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 3), hardware=HARDWARE, note=st.integers(0, 1))
    def restore(self, back: int, hardware: str, note: int) -> None:
        """An older copy of the state directory, here or on another machine."""
        self.one.seq = max(0, self.one.seq - back)
        self.put(self.one.compose(hardware=hardware, readings={"note": note}))

    @rule(error=st.sampled_from([0, -(10**9), 10**7, 60]))
    def set_clock(self, error: int) -> None:
        self.one.clock_error = error

    @rule(epoch=st.integers(0, 3))
    def other_epoch(self, epoch: int) -> None:
        self.put(self.one.compose(epoch=epoch))

    @precondition(lambda self: self.aside)
    @rule()
    def operator_accepts(self) -> None:
        self.collector.services.enrolment.accept(self.one.name)
        self.one.seq = max(self.one.seq, self.row().seq)
        self.aside = False

    @invariant()
    def what_was_acknowledged_last_is_what_is_there(self) -> None:
        row = self.row()
        if self.stored:
            assert row.seq == max(self.stored)
            assert row.report == report_name(self.stored[row.seq])
        else:
            assert row.seq == -1


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Enrolments, Ingestion])
def test_what_must_hold_holds(collector, machine: type[RuleBasedStateMachine]) -> None:
    bound = type(machine.__name__, (machine,), {"collector": collector, "counter": iter(range(10_000))})
    run_machine(bound, settings=QUICK)
    assert collector.services.audit.verify().fault == ""
