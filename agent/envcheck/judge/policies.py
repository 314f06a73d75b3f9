"""Policies: the three that come with envcheck, and reading one's own from YAML."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from envcheck.contract.document import check_format, convert
from envcheck.contract.fingerprint import SECTION_NAMES
from envcheck.contract.policy import Policy, Rule
from envcheck.contract.yaml_text import read_yaml
from envcheck.errors import BadInput
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.decide import parse_age

BUILTIN = ("default", "strict", "inventory")
_EVIDENCE_PATHS = {
    "noise-floor": "evidence.outputs.*",
    "decisions": "evidence.outputs.*",
    "accuracy": "evidence.accuracy",
    "placement": "evidence.placement",
    "repeatable": "evidence.repeatable",
    "saturation": "evidence.canaries.u8s8",
}


def builtin_policy(name: str) -> Policy:
    """Return one of the policies that come with envcheck; raises BadInput for another name."""
    if name not in BUILTIN:
        raise BadInput(f"there is no policy {name[:80]!r}", f"there are {', '.join(BUILTIN)}, or name a file")
    text = files("envcheck.judge").joinpath("policies", f"{name}.yaml").read_text(encoding="utf-8")
    return load_policy(text, f"the policy {name}")


def load_policy(text: str, source: str) -> Policy:
    """Read a policy from YAML; raises BadInput with the path in the file of what does not fit."""
    value = read_yaml(text, source)
    if not isinstance(value, dict):
        raise BadInput(f"{source} is not a policy", "start from one: docs/policies.md shows the default")
    fields = dict(value)
    check_format(str(fields.pop("format", Policy.FORMAT)), Policy, source)
    policy = convert(fields, Policy, source)
    check_policy(policy, source)
    return policy


def check_policy(policy: Policy, source: str) -> None:
    """Refuse comparators, paths and options that do not exist; raises BadInput with the rule's place."""
    if not policy.rules:
        raise BadInput(f"{source}: a policy without rules would pass every device", "add rules")
    parse_age(policy.max_age, f"{source}: max_age")
    for number, rule in enumerate(policy.rules):
        _check_rule(rule, f"{source}: rules[{number}]", policy)


def _check_rule(rule: Rule, where: str, policy: Policy) -> None:
    comparator = COMPARATORS.get(rule.compare)
    if comparator is None:
        raise BadInput(
            f"{where}.compare: there is no comparator {rule.compare[:80]!r}",
            f"there are {', '.join(sorted(COMPARATORS))}",
        )
    root, _, rest = rule.path.partition(".")
    if root not in (*SECTION_NAMES, "evidence") or not rest:
        raise BadInput(
            f"{where}.path: {rule.path[:120]!r} names no fact and no evidence",
            f"a path begins with one of {', '.join(SECTION_NAMES)}, evidence",
        )
    wanted = _EVIDENCE_PATHS.get(rule.compare)
    if wanted is not None and rule.path != wanted:
        raise BadInput(f"{where}.path: the comparator {rule.compare} reads {wanted}, not {rule.path[:120]}")
    if root == "evidence" and policy.evidence == "ignored":
        raise BadInput(f"{where}.path reads evidence, but the policy says `evidence: ignored`")
    if rule.scope == "required" and not rule.path.startswith("packages."):
        raise BadInput(f"{where}.scope: only packages can be required", "leave `scope` out")
    try:
        msgspec.convert(rule.options, comparator.options)
    except (msgspec.ValidationError, ValueError) as error:
        raise BadInput(f"{where}.options: {str(error)[:300]}") from None
