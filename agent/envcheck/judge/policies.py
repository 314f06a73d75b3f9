"""Policies: the three that come with envcheck, and reading one's own from YAML."""

from __future__ import annotations

from importlib.resources import files
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from envcheck.contract.document import check_format, convert
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SECTION_NAMES
from envcheck.contract.policy import Policy, Rule
from envcheck.contract.yaml_text import read_yaml
from envcheck.errors import BadInput
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.decide import parse_age
from envcheck.judge.paths import split

BUILTIN = ("default", "strict", "inventory")
_PATHS = {
    "opset": "onnxruntime.version",
    "memory": "memory.total_mib",
    "conflict": "onnxruntime.conflicts",
    "noise-floor": "evidence.outputs.*",
    "decisions": "evidence.outputs.*",
    "order": "evidence.output_order",
    "range": "evidence.outputs.*",
    "batching": "evidence.outputs.*",
    "fallback": "evidence.fallbacks",
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
        earlier = next((index for index in range(number) if _covers(policy.rules[index], rule)), None)
        if earlier is not None:
            raise BadInput(
                f"{source}: rules[{number}] can never decide: rules[{earlier}] means the same facts, and the "
                "first rule decides",
                "put the narrower rule first, or leave one out",
            )


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
    if root == "evidence":
        _check_evidence_path(rule.path, where)
    wanted = _PATHS.get(rule.compare)
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


def _check_evidence_path(path: str, where: str) -> None:
    """Follow a path through the types of evidence: a name that is not there would mean nothing for ever."""
    kind: Any = Evidence
    for step in split(path)[1:]:
        below = _below(kind)
        found = below.get(step, below.get("*"))
        if found is None:
            there = f"there are {', '.join(sorted(below))}" if below else "nothing is below it"
            raise BadInput(f"{where}.path: evidence has no {step[:80]!r} in {path[:120]!r}", there)
        kind = found


def _below(kind: Any) -> dict[str, Any]:
    """The types below a type of evidence by name; `*` stands for any name."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((one for one in get_args(kind) if one is not type(None)), kind)
    if get_origin(kind) is dict:
        return {"*": get_args(kind)[1]}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(kind)}
    return {}


def _covers(earlier: Rule, later: Rule) -> bool:
    """Tell whether every fact that `later` means is decided by `earlier`."""
    ours, theirs = split(earlier.path), split(later.path)
    return (
        ours[0] != "evidence"
        and len(ours) == len(theirs)
        and all(mine in ("*", other) for mine, other in zip(ours, theirs, strict=True))
        and earlier.scope in ("all", later.scope)
    )
