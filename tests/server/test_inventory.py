"""The inventory: who never enrolled is unknown, and who a factory made known needs no token."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.collector import Device, evidence_of, make_bundle, refused, told

from envcheck.cli import run_cli
from envcheck.contract.document import encode
from envcheck.contract.keys import generate_private_key, key_id, load_private_key, public_key_of
from envcheck.contract.selector import is_device_id, is_label
from envcheck.contract.wire import Inventory, InventoryAnswer, InventoryDevice
from envcheck.errors import BadInput
from envcheck_server.cli import envcheck_server
from envcheck_server.service.inventory import read_expected, read_preauthorised

HARDWARE = "ab" * 16


def inventory(*devices: str, **labels: str) -> bytes:
    return encode(Inventory(devices=[InventoryDevice(device=one, labels=labels) for one in devices]))


def test_who_never_enrolled_is_unknown_to_the_gate(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    for name in ("a", "b"):
        device = collector.device(name)
        device.report(evidence_of(device, bundle))
    gate, operator = collector.holder("gate:read"), collector.holder("operator")
    assert gate.gate().outcome == "pass"
    answer = told(operator.send("PUT", "/v1/inventory", inventory("a", "b", "c", "d")), InventoryAnswer)
    assert (answer.expected, answer.missing, answer.absent) == (4, 2, ["c", "d"])
    found = gate.gate()
    assert (found.outcome, found.total, found.ready, found.unknown) == ("unknown", 4, 2, 2)
    assert found.groups[1].devices == ["c", "d"]
    assert "device expect" in found.groups[1].hint
    # Named in the question too, they are counted once.
    assert gate.gate(expect=["c", "e"]).total == 5
    Device(collector.http, "c").enrol(collector.token())
    assert gate.gate().unknown == 2, "it waits now, and is unknown for that"
    collector.services.enrolment.revoke("b")
    assert told(gate.send("GET", "/v1/inventory"), InventoryAnswer).absent == ["b", "d"]
    told(operator.send("PUT", "/v1/inventory", inventory("a")), InventoryAnswer)
    assert gate.gate().total == 2


def test_labels_of_the_inventory_say_which_cohort_a_device_is_missing_from(collector) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device("a", labels={"site": "bonn"})
    device.report(evidence_of(device, bundle))
    listed = [
        InventoryDevice(device="a", labels={"site": "berlin"}),
        InventoryDevice(device="b", labels={"site": "bonn"}),
        InventoryDevice(device="c", labels={"site": "berlin"}),
    ]
    collector.services.inventory.expect(listed)
    gate = collector.holder("gate:read")
    assert (gate.gate(cohort="site=bonn").ready, gate.gate(cohort="site=bonn").unknown) == (1, 1)
    assert gate.gate(cohort="site=berlin").groups[0].devices == ["c"]
    assert gate.gate().unknown == 2


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ([("a", {}), ("Press 7", {})], r"devices\[1\].device: 'Press 7' can't name"),
        ([("a", {}), ("a", {})], r"devices\[1\].device: a is named twice"),
        ([("a", {"site": "\x1b"})], r"devices\[0\].labels"),
    ],
)
def test_an_inventory_that_does_not_fit_changes_nothing(collector, devices: Any, said: str) -> None:
    collector.services.inventory.expect([InventoryDevice(device="old")])
    wrong = [InventoryDevice(device=name, labels=labels) for name, labels in devices]
    with pytest.raises(BadInput, match=said):
        collector.services.inventory.expect(wrong)
    assert collector.services.inventory.status().absent == ["old"]


def test_lists_of_devices_are_read() -> None:
    plain = read_expected(b"\xef\xbb\xbfa\n\n# a comment\n b \n", "list")
    assert [one.device for one in plain.devices] == ["a", "b"]
    table = read_expected(b'device,site,line\na,berlin,press\n"b",,press\n', "list")
    assert [(one.device, one.labels) for one in table.devices] == [
        ("a", {"site": "berlin", "line": "press"}),
        ("b", {"line": "press"}),
    ]


CELLS = st.sampled_from(
    [*',"#\n\r\0\ufeff\x1c ', "a", "device", "site", "hardware", HARDWARE, "A" * 43 + "="]
)
LISTS = st.binary() | st.lists(CELLS | st.text(max_size=3)).map("".join).map(str.encode)


@given(LISTS)
@example(f"device,site\na,b\n{HARDWARE},".encode())
def test_whatever_is_in_a_list_of_devices_it_is_read_or_refused(data: bytes) -> None:
    with suppress(BadInput):
        for one in read_expected(data, "list").devices:
            assert is_device_id(one.device)
            assert all(is_label(name, value) for name, value in one.labels.items())


@given(LISTS)
@example(f"{HARDWARE},{'A' * 43}=,a\nhardware,site\n{HARDWARE},b".encode())
def test_whatever_is_in_a_factorys_list_it_is_read_or_refused(data: bytes) -> None:
    with suppress(BadInput):
        for one in read_preauthorised(data, "list", 1):
            assert one.key_id == key_id(one.public_key)
            assert one.name == "" or is_device_id(one.name)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a\nPress 7\nb\n", "line 2: device: 'Press 7'"),
        (b"a\nb\na\n", "line 3: the same as line 1"),
        (b"device,site\na,\x1b[2J\n", "line 2: labels"),
        (b"a,berlin\n", "line 1: it has 2 cells"),
        (b"device,site,site\na,b,c\n", "line 1: the column 'site' is there twice"),
        (b"device,\na,b\n", "line 1: a column has no name"),
        (b'a\n"b\n', "line 2: it is not CSV"),
        (b"\xff\xfe", "not UTF-8"),
        (b"# nothing\n", "names no device"),
        (b"X\n" * 9, "and 4 more"),
    ],
)
def test_lines_that_do_not_fit_are_named(data: bytes, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_expected(data, "list.csv")
    assert "list.csv" in caught.value.message
    assert said in caught.value.message


def factory(collector: Any, *rows: str, head: str = "") -> None:
    data = "\n".join([head, *rows]).encode()
    keys = read_preauthorised(data, "batch.csv", 0)
    collector.services.inventory.preauthorise(keys, by="user:anna")


def test_a_key_that_the_factory_knows_needs_no_token_on_its_hardware(collector) -> None:
    device = Device(collector.http)
    factory(collector, f"{HARDWARE}{HARDWARE},{device.public},,press", head="hardware,public_key,device,line")
    answer = device.enrol("", hardware=HARDWARE)
    assert (answer.state, answer.labels) == ("accepted", {"line": "press"})
    assert device.enrol("", hardware=HARDWARE) == answer
    assert device.report(hardware=HARDWARE).stored
    entries = list(collector.services.audit.entries())
    assert entries[0].deed.action == "inventory.preauthorise"
    assert entries[0].deed.details["count"] == 1
    assert entries[1].deed.details["token"] == "preauthorised"


def test_any_token_does_no_harm_to_a_key_that_the_factory_knows(collector) -> None:
    device = Device(collector.http)
    factory(collector, f"{HARDWARE},{device.public}")
    token = collector.token(uses=1, labels={"line": "boss"})
    answer = device.enrol(token, hardware=HARDWARE)
    assert (answer.state, answer.labels) == ("accepted", {})
    assert Device(collector.http, "b").enrol(token).state == "accepted", "the token was not used"
    third = Device(collector.http, "c")
    factory(collector, f"{HARDWARE},{third.public}")
    assert third.enrol("no token of ours", hardware=HARDWARE).state == "accepted"


@pytest.mark.parametrize("hardware", ["cd" * 16, "", HARDWARE[:-1]])
def test_on_other_hardware_it_waits(collector, hardware: str) -> None:
    device = Device(collector.http)
    factory(collector, f"{HARDWARE},{device.public}")
    assert device.enrol("", hardware=hardware).state == "pending"
    assert "waits for an operator" in refused(device.put_report(device.compose()), 403).message
    # Moved back to its own hardware it is what the factory said.
    assert device.enrol("", hardware=HARDWARE).state == "accepted"


def test_under_another_name_it_waits(collector) -> None:
    device = Device(collector.http, "press-08")
    factory(collector, f"{HARDWARE},{device.public},press-07")
    assert device.enrol("", hardware=HARDWARE).state == "pending"


def test_a_known_device_is_not_replaced_by_a_factory_key(collector) -> None:
    first = collector.device("press-07")
    second = Device(collector.http, "press-07")
    factory(collector, f"{HARDWARE},{second.public},press-07")
    assert second.enrol("", hardware=HARDWARE).state == "pending"
    assert first.report().stored


def test_a_revoked_key_is_not_brought_back_by_a_list(collector) -> None:
    device = Device(collector.http)
    factory(collector, f"{HARDWARE},{device.public}")
    device.enrol("", hardware=HARDWARE)
    collector.services.enrolment.revoke(device.name)
    factory(collector, f"{HARDWARE},{device.public}")
    assert "revoked" in refused(device.ask_enrolment("", hardware=HARDWARE), 403).message


def test_without_token_and_unknown_to_the_factory_nobody_enrols(collector) -> None:
    problem = refused(Device(collector.http).ask_enrolment("", hardware=HARDWARE), 401)
    assert "no token" in problem.message
    assert problem.hint


def key() -> str:
    return public_key_of(load_private_key(generate_private_key(), "a test's key"))


def test_wrong_lines_of_a_factorys_list_are_named_and_nothing_is_taken(tmp_path: Path, collector) -> None:
    good, twice = Device(collector.http), key()
    rows = [
        f"{HARDWARE},{good.public}",
        f"zz,{key()}",
        f"{HARDWARE},AAAA",
        f"{HARDWARE},{key()},Press 7",
        f"{HARDWARE},{twice}",
        f"{HARDWARE},{twice}",
        HARDWARE,
    ]
    with pytest.raises(BadInput) as caught:
        factory(collector, *rows)
    said = caught.value.message
    for part in (
        "line 3: hardware: 'zz'",
        "line 4: the public key is not a public key",
        "line 5: device: 'Press 7'",
        "line 7: the same as line 6",
        "line 8: the public key",
    ):
        assert part in said
    assert caught.value.hint == "nothing of the file was taken"
    assert refused(good.ask_enrolment("", hardware=HARDWARE), 401)


def test_the_commands_take_files(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ENVCHECK_SERVER_DATABASE", str(tmp_path / "typed.db"))

    def ask(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_cli(envcheck_server, [str(one) for one in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    ask("migrate")
    file = tmp_path / "list.csv"
    file.write_text("".join(f"d-{number:02}\n" for number in range(30)))
    code, out, _ = ask("device", "expect", file)
    assert (code, out.splitlines()[0]) == (0, "30 devices are expected, 30 of them are not there")
    assert out.splitlines()[-1] == "  ... (+10)"
    assert ask("device", "expect")[1] == out
    file.write_text(f"{HARDWARE},{key()}\n")
    assert ask("device", "preauthorise", file)[:2] == (0, "1 devices may enrol without a token\n")
    file.write_text("nonsense\n")
    code, _, err = ask("device", "preauthorise", file)
    assert (code, "line 1: hardware" in err) == (2, True)
    assert ask("device", "expect", tmp_path / "nowhere")[0] == 2
    assert "inventory.preauthorise" in ask("audit", "list")[1]
