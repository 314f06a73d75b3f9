"""Reading policies: what is wrong is named with its path in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from envcheck.contract.document import decode, encode
from envcheck.contract.policy import Policy
from envcheck.errors import BadInput
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.policies import BUILTIN, builtin_policy, load_policy

RULE = "{path: python.version, compare: equal, severity: block}"


def rules(*texts: str) -> str:
    """A policy of blocking rules."""
    return "name: x\nrules:\n" + "\n".join(f"- {{severity: block, path: {text}}}" for text in texts)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_policies_that_come_along_are_whole(name: str) -> None:
    policy = builtin_policy(name)
    assert policy.name == name
    assert policy.description
    assert decode(encode(policy), Policy, "x") == policy


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name: x\nrules: []", "without rules"),
        ("name: x\nrulez: []\nrules: []", "rulez"),
        ("rules: []", "name"),
        ("- 1", "not a policy"),
        ("a: [", "not valid YAML"),
        ("name: x\nrules:\n- {path: python.version, compare: alike, severity: block}", "rules[0].compare"),
        (f"name: x\nrules:\n- {RULE}\n- {{path: a.b, compare: equal, severity: block}}", "rules[1].path"),
        ("name: x\nrules:\n- {path: python, compare: equal, severity: block}", "rules[0].path"),
        ("name: x\nrules:\n- {path: python.version, compare: equal, severity: fatal}", "rules[0].severity"),
        ("name: x\nrules:\n- {path: python.version, compare: equal, severity: info, if: 1}", "rules[0]: "),
        (
            (
                "name: x\nrules:\n- {path: evidence.outputs.*, compare: noise-floor, severity: block,"
                " options: {factr: 3}}"
            ),
            "rules[0].options",
        ),
        (
            (
                "name: x\nrules:\n- {path: evidence.outputs.*, compare: noise-floor, severity: block,"
                " options: {factor: -1}}"
            ),
            "rules[0].options",
        ),
        ("name: x\nrules:\n- {path: evidence.x, compare: noise-floor, severity: block}", "rules[0].path"),
        (
            (
                "name: x\nrules:\n- {path: cuda.driver, compare: specifier, severity: block,"
                " options: {specifier: 'newer'}}"
            ),
            "rules[0].options",
        ),
        (
            (
                "name: x\nevidence: ignored\n"
                "rules:\n- {path: evidence.accuracy, compare: accuracy, severity: block}"
            ),
            "rules[0].path",
        ),
        (
            "name: x\nrules:\n- {path: python.version, compare: equal, severity: block, scope: required}",
            "rules[0].scope",
        ),
        (f"name: x\nmax_age: soon\nrules:\n- {RULE}", "max_age"),
        (f"name: x\nmax_age: 999999999w\nrules:\n- {RULE}", "max_age"),
        (rules("evidence.outputs.logits.rsme, compare: equal"), "evidence has no 'rsme'"),
        (rules("evidence.accurracy, compare: equal"), "evidence has no 'accurracy'"),
        (rules("evidence.runtime.*, compare: equal"), "evidence has no '*'"),
        (rules("evidence.canaries.fma.x, compare: equal"), "evidence has no 'x'"),
        (
            rules("packages.*.version, compare: version", "packages.numpy.version, compare: version"),
            "rules[1]",
        ),
        (rules("python.version, compare: equal", "python.version, compare: version"), "can never decide"),
        (rules("python.version, compare: version, options: {precision: 0}"), "precision"),
        (rules("python.version, compare: specifier, options: {specifier: ' '}"), "empty specifier"),
        (rules("memory.total_mib, compare: at-least, options: {share: 0}"), "share"),
        (f"format: envcheck.policy/2.0\nname: x\nrules:\n- {RULE}", "version 2.0"),
        (f"format: envcheck.report/1.0\nname: x\nrules:\n- {RULE}", "holds a report"),
    ],
)
def test_what_is_wrong_is_named(text: str, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_policy(text, "own.yaml")
    assert "own.yaml" in caught.value.message
    assert where in caught.value.message


def test_there_is_no_other_builtin_policy() -> None:
    with pytest.raises(BadInput, match="there is no policy"):
        builtin_policy("lenient")


@pytest.mark.parametrize(
    "text",
    [
        rules("evidence.outputs.*.digest, compare: equal", "evidence.outputs.*, compare: decisions"),
        rules("evidence.outputs.logits.decisions.flipped, compare: at-least"),
        rules("evidence.runtime.onnxruntime, compare: version", "evidence.canaries.*, compare: equal"),
        rules("packages.numpy.version, compare: version", "packages.*.version, compare: version"),
        rules(
            "packages.*.version, compare: version, scope: required", "packages.*.version, compare: version"
        ),
    ],
)
def test_what_means_something_is_taken(text: str) -> None:
    assert load_policy(text, "own.yaml").rules


def test_every_comparator_is_documented_and_the_example_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    assert [name for name in COMPARATORS if f"| `{name}` |" not in text] == []
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert load_policy(example, "docs/policies.md").name == "press-line"
