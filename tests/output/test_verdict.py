"""The screen of one verdict: `ok` stands only before what the policy judged and found to be right."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console
from support.builders import evidence, metrics, reference, sections, shared

from envcheck.contract.baseline import Graph
from envcheck.contract.evidence import Ending, Latency, Placement, SmokeReadings
from envcheck.contract.fingerprint import Section
from envcheck.contract.policy import Budget, Policy
from envcheck.contract.verdict import Finding, Verdict
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy, load_policy
from envcheck.output.looked_at import Measured, looked_at
from envcheck.output.verdict import verdict_text

READINGS = SmokeReadings(latency=Latency(runs=64, min_ms=1.0, p50_ms=2.0, p90_ms=3.0), peak_memory_mb=80.0)


def lines(
    policy: Policy, *findings: Finding, readings: SmokeReadings = READINGS, **changed: Any
) -> dict[str, tuple[str, str]]:
    """What is told beside `findings`, by label: the word and the text."""
    measured = Measured(reference().baseline, evidence(**changed), readings)
    verdict = Verdict(outcome="pass", release="digits@1.0", findings=list(findings))
    return {line.label: (line.word, line.text) for line in looked_at(verdict, policy, measured)}


def words_of(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {label: word for label, (word, _) in found.items()}


def test_the_default_judges_what_the_model_did() -> None:
    assert words_of(lines(builtin_policy("default"))) == {
        "outputs": "ok",
        "accuracy": "ok",
        "providers": "ok",
        "repeats": "ok",
        "facts": "ok",
        "latency": "seen",
        "memory": "seen",
    }


def test_the_inventory_judges_facts_alone_and_says_so() -> None:
    """However wrong the outputs are: they are not this policy's business, and not called right."""
    found = lines(builtin_policy("inventory"), outputs={"logits": metrics(rmse=9.0, max_abs=9.0)})
    assert {label for label, word in words_of(found).items() if word == "ok"} == {"facts"}
    assert found["outputs"][1].endswith("(not judged by this policy)")
    assert "as in training" not in found["providers"][1]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("evidence.outputs.logits", "outputs"),
        ("evidence.accuracy", "accuracy"),
        ("evidence.placement", "providers"),
        ("evidence.repeatable", "repeats"),
    ],
)
@pytest.mark.parametrize("severity", ["block", "warn", "info"])
def test_what_a_finding_speaks_of_is_not_ok(path: str, label: str, severity: Any) -> None:
    finding = Finding(rule=path, path=path, severity=severity, message="?")
    assert label not in lines(builtin_policy("default"), finding)


@pytest.mark.parametrize("path", ["evidence", "evidence.ending"])
def test_where_evidence_does_not_count_nothing_of_it_is_ok(path: str) -> None:
    finding = Finding(rule=path, path=path, severity="block", message="?", unknown=True)
    assert set(lines(builtin_policy("default"), finding)) == {"facts"}


def test_a_run_that_did_not_end_well_tells_nothing() -> None:
    assert set(lines(builtin_policy("inventory"), ending=Ending(status="crash"))) == {"facts"}


def test_a_section_with_any_finding_is_not_called_right() -> None:
    finding = Finding(rule="r", path="packages.rich.version", severity="info", message="?")
    assert lines(builtin_policy("strict"), finding)["facts"][1] == (
        "python, system, onnxruntime, memory, cpu: as this policy wants"
    )


def test_a_budget_is_named_and_without_one_nothing_is_judged() -> None:
    policy = msgspec.structs.replace(builtin_policy("default"), budget=Budget(p90_ms=10.0))
    found = lines(policy)
    assert found["latency"] == ("ok", "p50 2 ms, p90 3 ms over 64 runs (budget p90 10 ms)")
    assert found["memory"] == ("seen", "80 MB at most (no budget)")


def test_an_accuracy_that_training_does_not_know_is_not_judged() -> None:
    unlabelled = reference(evidence=evidence(bundle="", accuracy=None)).baseline
    measured = Measured(unlabelled, evidence(), READINGS)
    verdict = Verdict(outcome="pass", release="digits@1.0")
    (line,) = [
        one for one in looked_at(verdict, builtin_policy("default"), measured) if one.label == "accuracy"
    ]
    assert line.word == "seen"


def test_heavy_nodes_are_placed_in_words_that_hold() -> None:
    nodes = {"CPUExecutionProvider": {"MatMul": 3}, "OtherExecutionProvider": {"Shape": 1}}
    found = lines(builtin_policy("default"), placement=Placement(source="profile", nodes=nodes))
    assert found["providers"][1] == "heavy nodes on CPUExecutionProvider, as in training"


def test_int8_products_are_told_where_the_model_has_them() -> None:
    graph = Graph(sha256="a" * 64, size=1, ir_version=8, quantised={"U8S8": 2})
    measured = Measured(reference(graph=graph).baseline, evidence(), READINGS)
    told = looked_at(Verdict(outcome="pass", release="a@1"), builtin_policy("strict"), measured)
    assert ("ok", "int8 products", "exact") in [tuple(line) for line in told]


def screen(policy: Policy, **changed: Section) -> str:
    device = shared(**changed)
    findings = judge(reference(), device, evidence(device), policy)
    verdict = Verdict(outcome="pass", release="digits@1.0", findings=findings, policy=policy.name)
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(verdict_text(verdict, "a title", policy, None, 0))
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_what_is_for_information_is_not_called_harmless() -> None:
    said = screen(builtin_policy("default"), system=Section(status="ok", shared={"machine": "aarch64"}))
    assert "info 1 more for information only: system.machine" in said


def test_a_name_is_said_once() -> None:
    facts = {**sections()["packages"].shared, "numpy": {"version": "1.0"}}
    said = screen(builtin_policy("strict"), packages=Section(status="ok", shared=facts))
    assert "FAIL packages.numpy 1.0 here, 2.4.6 in training (outputs are unaffected by it)" in said
    said = screen(builtin_policy("strict"), python=Section(status="ok", shared={"version": "3.9.1"}))
    assert "FAIL python 3.9.1 here, 3.11.7 in training mend serve the model with Python 3.11" in said


def test_impact_says_only_what_the_policy_looked_at() -> None:
    facts = {**sections()["packages"].shared, "numpy": {"version": "1.0"}}
    said = screen(builtin_policy("inventory"), packages=Section(status="ok", shared=facts))
    assert "(this policy does not judge outputs)" in said
    typo = load_policy(
        "name: own\nrules:\n- {path: packages.*.verison, compare: version, severity: block}\n", "own.yaml"
    )
    assert "UNKNOWN packages.*.verison means nothing, neither in training nor here mend" in screen(typo)


def test_a_crash_is_told_with_its_stack() -> None:
    stack = ["run of capi/inference.py:220", "rep\x1beat of child.py:181"]
    ending = Ending(status="crash", stage="run", reason="ended by a fault", hint="try another", stack=stack)
    crashed = evidence(ending=ending, outputs={})
    found = judge(reference(), shared(), crashed, builtin_policy("default"))
    console = Console(file=io.StringIO(), width=200, highlight=False)
    measured = Measured(reference().baseline, crashed, SmokeReadings())
    verdict = Verdict(outcome="fail", release="digits@1.0", findings=found)
    console.print(verdict_text(verdict, "a title", builtin_policy("default"), measured, 1))
    assert isinstance(console.file, io.StringIO)
    said = " ".join(console.file.getvalue().split())
    assert (
        r"FAIL run ended by a fault stack run of capi/inference.py:220 rep\x1beat of child.py:181 mend"
        in said
    )
