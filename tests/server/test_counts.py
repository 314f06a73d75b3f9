"""Lists that devices and bearers of tokens send: each names only so many."""

from __future__ import annotations

import pytest
from support.collector import make_bundle, refused, told

from envcheck.contract.document import encode
from envcheck.contract.wire import Inventory, InventoryAnswer, InventoryDevice, ReportAnswer, Result
from envcheck.errors import BadInput
from envcheck_server.service import gate, inventory
from envcheck_server.settings import Settings


@pytest.mark.parametrize("settings", [Settings()], ids=["as by default"])
def test_a_report_names_only_so_many_results(collector) -> None:
    device = collector.device()

    def results(count: int) -> dict[str, Result]:
        when = device.now()
        return {f"{number:064x}": Result(evidence="e" * 64, measured_at=when) for number in range(count)}

    told(device.put_report(device.compose(results=results(256))), ReportAnswer)
    problem = refused(device.put_report(device.compose(results=results(257))), 400)
    assert "results: more than 256" in problem.message


def test_a_question_and_an_inventory_name_only_so_many_devices(collector, monkeypatch) -> None:
    monkeypatch.setattr(gate, "MOST_EXPECTED", 3)
    monkeypatch.setattr(inventory, "_MOST", 3)
    collector.holder("baseline:write").push(make_bundle())
    ask, operator = collector.holder("gate:read"), collector.holder("operator")
    listed = [InventoryDevice(device=name) for name in "abcd"]
    assert ask.gate(expect=["a", "b", "c"]).unknown == 3
    problem = refused(ask.ask_gate(expect=["a", "b", "c", "c"]), 400)
    assert "expect: 4 devices are named, at most 3" in problem.message
    assert "inventory" in problem.hint
    told(operator.send("PUT", "/v1/inventory", encode(Inventory(devices=listed[:3]))), InventoryAnswer)
    answer = operator.send("PUT", "/v1/inventory", encode(Inventory(devices=listed)))
    assert "devices: 4 are named, at most 3" in refused(answer, 400).message
    assert told(ask.send("GET", "/v1/inventory"), InventoryAnswer).expected == 3
    with pytest.raises(BadInput, match="names more than 3 devices"):
        inventory.read_expected(b"a\nb\nc\nd\n", "list")
