"""`envcheck gate` against a real collector: every exit code, every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from junitparser import JUnitXml
from support import builders
from support.collector import Device as ByHand
from support.collector import Holder, evidence_of, make_bundle
from support.fleet import Bundles, Collector, Commands, GateFleet, Said

from envcheck.commands.gate import read_share
from envcheck.contract.document import decode
from envcheck.contract.fingerprint import Section
from envcheck.contract.wire import GateAnswer
from envcheck.errors import BadInput
from envcheck.judge.policies import builtin_policy

Gate = Callable[..., Said]


@pytest.fixture
def gate(commands: Commands, collector: Collector, gate_token: str) -> Gate:
    return lambda *arguments: commands(
        "gate", *arguments, "--collector", collector.url, "--token", gate_token
    )


@pytest.fixture(scope="module")
def fleet(collector: Collector, bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> GateFleet:
    return GateFleet.stage(collector, bundles, tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def press(fleet: GateFleet) -> str:
    return fleet.device


def test_ready_devices_pass(gate: Gate, press: str) -> None:
    said = gate("gate@ready", "--cohort", f"one={press}")
    assert said.code == 0, said.out
    lines = said.out.splitlines()
    assert lines[0].split() == ["ready", "1", "100.0%"]
    assert lines[-1].startswith("verdict: pass (100.0% ready, 100% wanted)")
    assert lines[-1].endswith("exit 0")


def test_blocked_devices_fail_and_the_reason_is_named(gate: Gate, press: str) -> None:
    said = gate("gate@other", "--cohort", f"one={press}")
    assert said.code == 1, said.out
    assert "numpy" in said.out
    assert press in said.out
    assert said.out.splitlines()[-1].endswith("exit 1")
    assert gate("gate@other", "--cohort", f"one={press}", "--min-ready", "0%").code == 0


def test_the_unknown_is_neither_pass_nor_fail(gate: Gate, press: str, tmp_path: Path) -> None:
    expected = tmp_path / "expected.csv"
    expected.write_text(f"device,site\n{press},berlin\npress-never,berlin\n")
    said = gate("gate@ready", "--cohort", f"one={press}", "--expect", expected)
    assert said.code == 3, said.out
    assert "press-never" in said.out
    shares = ("--min-ready", "50%", "--max-unknown", "50%")
    assert gate("gate@ready", "--cohort", f"one={press}", "--expect", expected, *shares).code == 0


def test_a_silent_device_is_unknown(gate: Gate, press: str) -> None:
    import time

    time.sleep(1.1)
    assert gate("gate@ready", "--cohort", f"one={press}", "--max-age", "0s").code == 3


def test_a_section_that_could_not_be_read_is_unknown(
    gate: Gate, collector: Collector, push_token: str
) -> None:
    """Whatever was measured there: facts that a rule is about and nobody knows are no pass, and no fail."""
    bundle = make_bundle()
    broken = ("unreadable", "error", "skipped")
    with httpx.Client(base_url=collector.url, trust_env=False) as http:
        Holder(http, push_token).push(bundle, builtin_policy("strict"))
        token = collector.token("enroll", "--label", "model=made")
        for status in ("ok", *broken):
            packages = Section(status=status, reason="no permission")
            changed = {} if status == "ok" else {"packages": packages}
            one = ByHand(http, f"press-{status}", sections=builders.sections(**changed))
            one.enrol(token)
            collector.operate("device", "accept", one.name)
            collector.operate("device", "label", one.name, f"packages={status}")
            one.report(evidence_of(one, bundle))
    assert gate("digits@1.0", "--cohort", "packages=ok").code == 0
    for status in broken:
        said = gate("digits@1.0", "--cohort", f"packages={status}", "--min-ready", "0%")
        assert said.code == 3, said.out
        assert f"packages is {status}: no permission" in said.out
    assert gate("digits@1.0", "--cohort", "model=made").code == 3, "one ready device speaks for no other"


def test_no_device_is_unknown(gate: Gate, fleet: GateFleet) -> None:
    said = gate("gate@ready", "--cohort", "one=nobody")
    assert said.code == 3
    assert "no device is selected" in said.out


def test_every_format_at_once(gate: Gate, press: str, tmp_path: Path) -> None:
    files = {form: tmp_path / f"gate.{form}" for form in ("text", "json", "junit", "sarif", "markdown")}
    wanted = [part for form, file in files.items() for part in ("--format", f"{form}:{file}")]
    said = gate("gate@other", "--cohort", f"one={press}", *wanted)
    assert said.code == 1
    assert files["text"].read_text() == said.out
    answer = decode(files["json"].read_bytes(), GateAnswer, "gate.json")
    assert (answer.outcome, answer.blocked) == ("fail", 1)
    assert JUnitXml.fromfile(str(files["junit"])).failures == 2
    assert json.loads(files["sarif"].read_text())["runs"][0]["results"][0]["level"] == "error"
    assert "blocked" in files["markdown"].read_text()


def test_one_format_takes_the_place_of_the_text(gate: Gate, press: str, tmp_path: Path) -> None:
    cohort = ("--cohort", f"one={press}")
    said = gate("gate@ready", *cohort, "--format", "json")
    assert decode(said.out.encode(), GateAnswer, "stdout").outcome == "pass"
    file = tmp_path / "gate.xml"
    said = gate("gate@ready", *cohort, "--format", "junit", "-o", file)
    assert said.out.splitlines()[-1].startswith("verdict: pass")
    assert JUnitXml.fromfile(str(file)).tests == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["gate"], "NAME@VERSION"),
        (["gate@9"], "gate@9"),
        (["gate@ready", "--cohort", "one=a b"], "character"),
        (["gate@ready", "--cohort", "one in (a"], "character"),
        (["gate@ready", "--min-ready", "95"], "--min-ready: '95' is not a percentage"),
        (["gate@ready", "--max-unknown", "101%"], "--max-unknown"),
        (["gate@ready", "--max-age", "soon"], "--max-age"),
        (["gate@ready", "--expect", "/nowhere/list"], "/nowhere/list"),
        (["gate@ready", "--format", "html"], "html"),
        (["gate@ready", "--format", "json:"], "json:"),
        (["gate@ready", "--format", "json", "--format", "junit"], "json and junit"),
        (["gate@ready", "--format", "json:/nowhere/file"], "/nowhere/file"),
    ],
)
def test_a_wrong_question_is_named(gate: Gate, fleet: GateFleet, arguments: list[str], named: str) -> None:
    said = gate(*arguments)
    assert (said.code, named in said.err, said.out) == (2, True, ""), said


def test_a_list_of_devices_with_a_bad_line(gate: Gate, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("# presses\npress-01\nPress 2\n")
    said = gate("gate@ready", "--expect", listed)
    assert (said.code, "line 3: 'Press 2'" in said.err) == (2, True)
    listed.write_text("# nothing\n")
    assert "names 0 devices" in gate("gate@ready", "--expect", listed).err


def test_the_gate_fails_closed(commands: Commands) -> None:
    said = commands("gate", "gate@ready", "--collector", "http://127.0.0.1:9", "--token", "t")
    assert (said.code, said.out) == (4, "")
    assert commands("gate", "gate@ready", "--token", "t").code == 2
    assert commands("gate", "gate@ready", "--collector", "http://127.0.0.1:9").code == 2


@pytest.mark.parametrize(
    ("text", "share"), [("0%", 0.0), ("95%", 0.95), ("99.5%", 0.995), ("97.2%", 0.972), ("100%", 1.0)]
)
def test_percentages(text: str, share: float) -> None:
    assert read_share(text, "--min-ready") == share


@pytest.mark.parametrize("text", ["", "%", "95", "0.95", "-1%", "1e2%", "100.1%", "nan%", "٩٥%"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(BadInput, match="--min-ready"):
        read_share(text, "--min-ready")
