"""Which facts a rule means, and what is said when it means none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.builders import evidence, package, reference, sections, shared

from envcheck.contract.fingerprint import Section, SharedFingerprint
from envcheck.contract.verdict import Finding
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy, load_policy
from envcheck.judge.reference import Reference


def packages(**named: dict[str, Any]) -> SharedFingerprint:
    return shared(packages=Section(status="ok", shared={**sections()["packages"].shared, **named}))


def held_to(training: SharedFingerprint, **changed: Any) -> Reference:
    return msgspec.structs.replace(reference(**changed), training=training)


def judged(rule: str, device: SharedFingerprint, training: SharedFingerprint | None = None) -> list[Finding]:
    policy = load_policy(f"name: own\nrules:\n- {{{rule}}}\n", "own.yaml")
    return judge(held_to(training or shared()), device, evidence(device), policy)


TORCH = {**package("2.7.1"), "local": "cu126"}
LOCAL = "path: packages.*.local, compare: equal, severity: block"


class TestLocalLabels:
    """`==2.7.1` matches `2.7.1+cu126` and `2.7.1` alike, so the label is a fact of its own."""

    @pytest.mark.parametrize(
        ("here", "there", "message"),
        [
            (TORCH, package("2.7.1"), "torch (local) cu126 here, none in training"),
            (package("2.7.1"), TORCH, "torch (local) none here, cu126 in training"),
            ({**TORCH, "local": "cpu"}, TORCH, "torch (local) cpu here, cu126 in training"),
        ],
    )
    @pytest.mark.parametrize(("policy", "severity"), [("strict", "block"), ("inventory", "warn")])
    def test_another_label_is_found_in_every_direction(
        self, here: Any, there: Any, message: str, policy: str, severity: str
    ) -> None:
        device, training = packages(torch=here), packages(torch=there)
        findings = judge(
            held_to(training, required=["torch"]), device, evidence(device), builtin_policy(policy)
        )
        assert [(one.path, one.message, one.severity, one.unknown) for one in findings] == [
            ("packages.torch.local", message, severity, False)
        ]

    def test_the_same_label_or_none_on_both_sides_is_no_difference(self) -> None:
        for one in (TORCH, package("2.7.1")):
            device = packages(torch=one)
            held = held_to(device, required=["torch"])
            assert judge(held, device, evidence(device), builtin_policy("strict")) == []

    def test_a_package_that_only_the_device_has_is_no_difference(self) -> None:
        assert judged(f"{LOCAL}, optional: true", packages(torch=TORCH)) == []


class TestRulesThatMeanNothing:
    @pytest.mark.parametrize(
        "rule",
        [
            "path: packages.*.verison, compare: version, severity: block",
            "path: python.verison, compare: version, severity: block",
            "path: python.version.major, compare: equal, severity: block",
            "path: cpu.isa.*, compare: equal, severity: block",
            "path: cuda.gpus.*.name, compare: one-of, severity: block, options: {values: [T4]}",
            "path: memory.total, compare: at-least, severity: block, options: {share: 0.5}",
            LOCAL,
        ],
    )
    def test_they_are_unknown_and_say_what_to_look_at(self, rule: str) -> None:
        with_cuda = shared(cuda=Section(status="ok", shared={"driver": "550"}))
        (finding,) = judged(rule, with_cuda, with_cuda)
        assert (finding.severity, finding.unknown) == ("block", True)
        assert finding.path in rule
        assert finding.hint

    @pytest.mark.parametrize("severity", ["warn", "info"])
    def test_they_are_told_as_gravely_as_they_would_decide(self, severity: str) -> None:
        (finding,) = judged(f"path: python.verison, compare: equal, severity: {severity}", shared())
        assert (finding.severity, finding.unknown) == (severity, True)

    def test_a_fact_that_training_did_not_have_yet_is_unknown(self) -> None:
        device = shared(python=Section(status="ok", shared={"version": "3.11.7", "free_threaded": True}))
        (finding,) = judged("path: python.free_threaded, compare: equal, severity: block", device)
        assert finding.unknown
        assert "python.free_threaded is not in training" in finding.message

    def test_without_required_packages_a_rule_on_them_is_unknown(self) -> None:
        findings = judge(reference(required=[]), shared(), evidence(), builtin_policy("strict"))
        (finding,) = [one for one in findings if one.severity == "block"]
        assert finding.unknown
        assert "--package" in finding.hint


class TestWholeSections:
    rule = "path: cuda.driver, compare: equal, severity: block"

    def test_absent_on_both_sides_is_the_same(self) -> None:
        assert judged(self.rule, shared()) == []

    def test_there_only_on_the_device_cannot_be_compared(self) -> None:
        (finding,) = judged(self.rule, shared(cuda=Section(status="ok", shared={"driver": "550"})))
        assert finding.unknown

    def test_absent_where_the_policy_wants_it_whatever_training_had(self) -> None:
        rule = "path: cuda.driver, compare: specifier, severity: block, options: {specifier: '>=535'}"
        (finding,) = judged(rule, shared())
        assert not finding.unknown
        assert finding.message == "cuda is absent here (no NVIDIA device), but the policy wants it"

    @pytest.mark.parametrize("status", ["unreadable", "error", "skipped", ""])
    def test_what_is_not_known_of_training_is_unknown(self, status: Any) -> None:
        whole = shared()
        rest = {name: part for name, part in whole.sections.items() if name != "packages"}
        left = SharedFingerprint(digest=whole.digest, sections=rest)
        training = shared(packages=Section(status=status)) if status else left
        findings = judge(held_to(training), shared(), evidence(), builtin_policy("inventory"))
        (finding,) = [one for one in findings if one.severity == "block"]
        assert (finding.path, finding.unknown) == ("packages", True)
        assert "in training: there is nothing to compare" in finding.message

    def test_a_rule_that_needs_no_training_is_judged_where_training_is_unreadable(self) -> None:
        rule = "path: python.version, compare: specifier, severity: block, options: {specifier: '>=3.12'}"
        (finding,) = judged(rule, shared(), shared(python=Section(status="error", reason="odd")))
        assert not finding.unknown


class TestVersions:
    @pytest.mark.parametrize(
        ("here", "there", "precision", "same"),
        [
            ("1.0.0", "1.0", "", True),
            ("1!1.0", "1.0", "", False),
            ("1!1.0", "1.0", ", options: {precision: 2}", False),
            ("1.0.post1", "1.0", "", False),
            ("1.0.dev1", "1.0", "", False),
            ("1.0rc1", "1.0", ", options: {precision: 2}", True),
            ("1.2", "1.2.0.0.0.0", ", options: {precision: 6}", True),
            ("1.2.3-custom-4", "1.2.3-custom-4", "", True),
            ("1.2.3-custom-4", "1.2.3-custom-5", "", False),
            ("2.7.1+cu126", "2.7.1", "", True),
            ("9" * 5000, "9", "", False),
            ("9" * 5000, "9" * 5000, "", True),
        ],
    )
    def test_versions(self, here: str, there: str, precision: str, same: bool) -> None:
        rule = f"path: packages.thing.version, compare: version, severity: block{precision}"
        findings = judged(rule, packages(thing=package(here)), packages(thing=package(there)))
        assert (findings == []) == same

    def test_a_package_without_a_version_is_unknown_and_not_called_missing(self) -> None:
        rule = "path: packages.thing.version, compare: version, severity: block"
        (finding,) = judged(rule, packages(thing={"broken": "no METADATA"}), packages(thing=package("1")))
        assert (finding.unknown, finding.message) == (True, "thing is not known here, 1 in training")

    def test_more_digits_than_python_reads_satisfy_nothing(self) -> None:
        rule = "path: packages.thing.version, compare: specifier, severity: block, options: {specifier: '>1'}"
        (finding,) = judged(rule, packages(thing=package("9" * 5000)))
        assert not finding.unknown


def test_true_is_not_one() -> None:
    rule = "path: python.gil, compare: equal, severity: block"
    facts = [shared(python=Section(status="ok", shared={"gil": value})) for value in (True, 1)]
    assert len(judged(rule, *facts)) == 1
