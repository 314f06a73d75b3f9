"""Waivers: named, dated, for a selector, and told by the gate whenever they made a difference."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import builders
from support.collector import Device, evidence_of, make_bundle

from envcheck.cli import run_cli
from envcheck.contract.fingerprint import Section
from envcheck.errors import BadInput
from envcheck.judge.policies import builtin_policy
from envcheck_server.cli import envcheck_server
from envcheck_server.service.waivers import MOST_WITH_SELECTOR

DAY = 86400


def old_numpy() -> dict[str, Section]:
    packages = {**builders.sections()["packages"].shared, "numpy": builders.package("1.26.4")}
    return builders.sections(packages=Section(status="ok", shared=packages))


@pytest.fixture
def fleet(collector) -> Any:
    """Two devices of two sites that the policy blocks, and one that it does not."""
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle, builtin_policy("strict"))
    for name, site, sections in (
        ("a", "berlin", old_numpy()),
        ("b", "bonn", old_numpy()),
        ("c", "bonn", builders.sections()),
    ):
        device = collector.device(name, labels={"site": site}, sections=sections)
        device.report(evidence_of(device, bundle))
    return collector


def waive(collector: Any, name: str = "numpy-1", path: str = "packages.numpy", **fields: Any) -> None:
    values = {"reason": "harmless", "expires_s": DAY, "by": "user:anna", **fields}
    collector.services.waivers.add(name, path, **values)


def test_a_waiver_lets_its_devices_through_and_no_others(fleet) -> None:
    gate = fleet.holder("gate:read")
    assert (gate.gate().blocked, gate.gate().waivers) == (2, [])
    waive(fleet, selector="site=berlin")
    answer = gate.gate()
    assert (answer.ready, answer.blocked) == (2, 1)
    assert [(one.name, one.path, one.reason, one.count) for one in answer.waivers] == [
        ("numpy-1", "packages.numpy", "harmless", 1)
    ]
    assert answer.groups[1].devices == ["b"]
    waive(fleet, "numpy-2", "packages.numpy.version")
    answer = gate.gate()
    assert (answer.outcome, answer.ready) == ("pass", 3)
    assert [(one.name, one.count) for one in answer.waivers] == [("numpy-1", 1), ("numpy-2", 2)]


def test_a_waiver_ends_by_itself_or_when_it_is_revoked(fleet) -> None:
    gate, waivers = fleet.holder("gate:read"), fleet.services.waivers
    waive(fleet, expires_s=600)
    assert gate.gate().ready == 3
    with pytest.raises(BadInput, match="already, until"):
        waive(fleet)
    waivers.revoke("numpy-1", by="user:bert")
    waivers.revoke("numpy-1", by="user:bert")
    assert gate.gate().blocked == 2
    waive(fleet, expires_s=600)
    fleet.ahead[0] = 601
    assert gate.gate().blocked == 2
    waive(fleet)
    assert gate.gate().ready == 3
    told = [
        (entry.deed.actor, entry.deed.action, entry.deed.target)
        for entry in fleet.services.audit.entries()
        if entry.deed.action.startswith("waiver.")
    ]
    assert told == [
        ("user:anna", "waiver.add", "numpy-1"),
        ("user:bert", "waiver.revoke", "numpy-1"),
        ("user:anna", "waiver.add", "numpy-1"),
        ("user:anna", "waiver.add", "numpy-1"),
    ]


def test_what_is_not_known_is_not_waived(fleet) -> None:
    fleet.device("d", labels={"site": "bonn"}).report()
    waive(fleet, "everything", "evidence")
    waive(fleet, "facts", "packages")
    answer = fleet.holder("gate:read").gate()
    assert (answer.ready, answer.unknown) == (3, 1)


def test_the_fleet_table_decides_with_waivers_too(fleet) -> None:
    waive(fleet, selector="site=berlin")
    rows = {one.device: one.outcome for one in fleet.services.fleet.page(release="digits@1.0").devices}
    assert rows == {"a": "pass", "b": "fail", "c": "pass"}


def test_a_device_that_is_relabelled_meanwhile_opens_nothing(fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a group decides for it, as it was when the group was counted."""
    fleet.device("a2", labels={"site": "paris"}, sections=old_numpy())
    waive(fleet, selector="site=berlin")
    ask, reports = fleet.holder("gate:read"), fleet.services.store.reports
    statements = reports.statements

    def meanwhile(ids: Any) -> Any:
        fleet.services.enrolment.label("b", {"site": "berlin"})
        return statements(ids)

    monkeypatch.setattr(reports, "statements", meanwhile)
    assert ask.gate().ready == 2
    monkeypatch.undo()
    assert ask.gate().ready == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "can't name a waiver"),
        ({"name": "a b"}, "can't name a waiver"),
        ({"name": "\x1b[2J"}, "can't name a waiver"),
        ({"path": "*.version"}, "no path that can be waived"),
        ({"path": ""}, "no path that can be waived"),
        ({"path": "packages..version"}, "no path that can be waived"),
        ({"path": "packages.\x1b"}, "no path that can be waived"),
        ({"reason": " "}, "has a reason"),
        ({"reason": "x" * 501}, "has a reason"),
        ({"expires_s": 0}, "ends"),
        ({"expires_s": 10**10}, "ends"),
        ({"selector": "site in (berlin"}, "character 16"),
    ],
)
def test_what_makes_no_sense_is_refused(collector, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        waive(collector, **fields)
    assert collector.services.waivers.all() == []


def test_there_are_no_more_than_the_gate_can_tell_apart(fleet) -> None:
    for number in range(MOST_WITH_SELECTOR):
        waive(fleet, f"w-{number:02}", f"packages.none-{number}", selector=f"site=s-{number}")
    with pytest.raises(BadInput, match="waivers with a selector already"):
        waive(fleet, selector="site=berlin")
    waive(fleet, "of-all")
    assert fleet.holder("gate:read").gate().ready == 3
    fleet.services.waivers.revoke("w-47")
    waive(fleet, "again", selector="site=berlin")
    assert fleet.holder("gate:read").gate().waivers[0].name == "again"


SITES = ("berlin", "bonn", "paris")
selectors = st.sampled_from(["", "site=berlin", "site in (berlin,bonn)", "!site", "site!=paris", "line"])
given_waivers = st.lists(
    st.tuples(st.sampled_from(["packages.numpy", "packages.*.version", "readings.p90_ms", "cpu"]), selectors),
    max_size=4,
)
devices = st.lists(
    st.tuples(st.sampled_from([*SITES, ""]), st.sampled_from(["", "press"])), min_size=6, max_size=6
)


def test_deciding_in_groups_is_deciding_device_by_device(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle, builtin_policy("strict"))
    made: list[Device] = []
    for number in range(6):
        sections = old_numpy() if number % 2 else builders.sections()
        device = collector.device(f"d-{number}", sections=sections)
        device.report(evidence_of(device, bundle))
        made.append(device)
    now = int(time.time())
    collector.services.gate._clock = collector.services.fleet._gate._clock = lambda: now
    gate = collector.holder("gate:read")
    rounds = iter(range(10_000))

    @given(given_waivers, devices)
    @settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25)
    def compare(waivers: Any, labels: Any) -> None:
        names = []
        for path, selector in waivers:
            names.append(f"w-{next(rounds)}")
            waive(collector, names[-1], path, selector=selector)
        for device, (site, line) in zip(made, labels, strict=True):
            wanted = {name: value for name, value in (("site", site), ("line", line)) if value}
            collector.services.enrolment.label(device.name, wanted, ("site", "line"))
        grouped = gate.gate()
        single = collector.services.fleet.page(release="digits@1.0").devices
        for outcome, count in (("pass", grouped.ready), ("fail", grouped.blocked)):
            assert sum(one.outcome == outcome for one in single) == count
        for group in grouped.groups:
            assert {one.outcome for one in single if one.device in group.devices} == {group.outcome}
        for name in names:
            collector.services.waivers.revoke(name)

    compare()


def test_the_commands_add_list_and_revoke(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ENVCHECK_SERVER_DATABASE", str(tmp_path / "typed.db"))

    def ask(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        return run_cli(envcheck_server, list(arguments)), capsys.readouterr().out

    ask("migrate")
    given = ["--path", "packages.numpy", "--expires", "30d", "--reason", "OPS-312 \x1b[2J"]
    code, out = ask("waiver", "add", "numpy-1", *given, "--for", "site=berlin")
    assert (code, out.startswith("packages.numpy is waived for devices with site=berlin until 20")) == (
        0,
        True,
    )
    assert ask("waiver", "add", "numpy-1", *given)[0] == 2
    row = ask("waiver", "list")[1].splitlines()[1]
    assert "site=berlin" in row
    assert "user:" in row
    assert "\x1b" not in row
    assert ask("waiver", "revoke", "numpy-1") == (0, "the waiver numpy-1 is revoked\n")
    assert len(ask("waiver", "list")[1].splitlines()) == 1
    assert json.loads(ask("waiver", "list", "--all", "--json")[1])[0]["state"] == "revoked"
    assert ask("waiver", "revoke", "nothing")[0] == 2
    assert ask("waiver", "add", "x", "--path", "cpu", "--reason", "r", "--expires", "soon")[0] == 2
