"""Rules over facts: which concrete facts they mean, and what can't be compared at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from envcheck.contract.fingerprint import SharedSection
from envcheck.contract.policy import Rule
from envcheck.contract.verdict import Finding
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.comparison import Difference, Situation, shown
from envcheck.judge.findings import compare, finding_of
from envcheck.judge.paths import MISSING, expand, fact_name, get, split

Path = tuple[str, ...]


def fact_findings(situation: Situation, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Find what differs in the device's facts. The first rule that means a path decides.

    What hinders a whole section is found for every rule that reads it: the caller keeps the gravest.
    """
    seen: set[Path] = set()
    for rule in rules:
        name = rule.path.partition(".")[0]
        training = situation.reference.training.sections.get(name)
        device = situation.device.sections.get(name)
        obstacle = _device_obstacle(name, device) or _training_obstacle(rule, name, training)
        if obstacle is not None:
            yield finding_of(rule, (name,), obstacle)
        elif device is not None and device.status == "ok":
            yield from _rule_findings(situation, rule, seen)
        elif _is_absolute(rule) or (training is not None and training.status == "ok"):
            yield finding_of(rule, (name,), _absent(name, device, training))


def _device_obstacle(name: str, device: SharedSection | None) -> Difference | None:
    if device is not None and device.status in ("ok", "absent"):
        return None
    status = "missing" if device is None else device.status
    reason = "it was not captured" if device is None else device.reason
    return Difference(
        message=f"{name} is {status}: {reason or 'no reason given'}",
        unknown=True,
        hint="run `envcheck capture` on the device to see why",
    )


def _training_obstacle(rule: Rule, name: str, training: SharedSection | None) -> Difference | None:
    if _is_absolute(rule) or (training is not None and training.status in ("ok", "absent")):
        return None
    status = "missing" if training is None else training.status
    return Difference(
        message=f"{name} is {status} in training: there is nothing to compare this device with",
        unknown=True,
        hint="capture the training environment whole, and create the baseline anew",
    )


def _absent(name: str, device: SharedSection | None, training: SharedSection | None) -> Difference:
    why = f" ({device.reason})" if device is not None and device.reason else ""
    was_there = training is not None and training.status == "ok"
    told = "but was there in training" if was_there else "but the policy wants it"
    return Difference(message=f"{name} is absent here{why}, {told}", expected="there", actual="absent")


def _is_absolute(rule: Rule) -> bool:
    return COMPARATORS[rule.compare].absolute


def _rule_findings(situation: Situation, rule: Rule, seen: set[Path]) -> Iterator[Finding]:
    name, *steps = split(rule.path)
    here, there = situation.device.sections[name].facts, _facts_in_training(situation, name)
    meant = False
    for path in _meant(rule, tuple(steps), here, there):
        if not _in_scope(rule, (name, *path), situation):
            continue
        meant = True
        if (name, *path) in seen:
            continue
        seen.add((name, *path))
        expected, actual = get(there, path), get(here, path)
        lack = _lack(rule, (name, *path), expected, actual)
        if lack is not None:
            yield finding_of(rule, (name, *path), lack)
        elif rule.optional and MISSING in (expected, actual):
            continue
        else:
            yield from compare(situation, rule, (name, *path), expected, actual)
    if not meant and not rule.optional:
        yield finding_of(rule, (name, *steps), _meaningless(rule, situation))


def _facts_in_training(situation: Situation, name: str) -> dict[str, Any]:
    section = situation.reference.training.sections.get(name)
    return section.facts if section is not None and section.status == "ok" else {}


def _meant(rule: Rule, steps: Path, here: dict[str, Any], there: dict[str, Any]) -> list[Path]:
    """Return the concrete paths that a rule means, none when nothing is at any of them on either side.

    What only the device has is no difference (another package, say), unless it is a part of
    something that training has too (the local label of a package).
    """
    if "*" not in steps:
        return [steps]
    own = {*expand(there, steps)}
    theirs = {*expand(here, steps)}
    if not _is_absolute(rule):
        theirs = {path for path in theirs if len(path) > 1 and get(there, path[:-1]) is not MISSING}
    found = {path for path in own if get(there, path) is not MISSING}
    found |= {path for path in theirs if get(here, path) is not MISSING}
    lenient = rule.optional or _is_absolute(rule) or not found
    return sorted(found if lenient else found | own)


def _lack(rule: Rule, path: Path, expected: Any, actual: Any) -> Difference | None:
    """Return what there is to say when training, or one side of an optional fact, has nothing."""
    name = fact_name(path)
    if rule.optional:
        if (expected is MISSING) == (actual is MISSING) or _is_absolute(rule):
            return None
        sides = ["none" if side is MISSING else shown(side) for side in (expected, actual)]
        return Difference(
            message=f"{name} {sides[1]} here, {sides[0]} in training", expected=sides[0], actual=sides[1]
        )
    if expected is not MISSING or _is_absolute(rule):
        return None
    where = "neither in training nor here" if actual is MISSING else "not in training"
    return Difference(
        message=f"{name} is {where}: there is nothing to compare",
        actual="" if actual is MISSING else shown(actual),
        unknown=True,
        hint=_PATH_HINT,
    )


_PATH_HINT = (
    "is the rule's path right (envcheck capture --json shows what there is)? "
    "`optional: true` lets a fact be missing"
)


def _meaningless(rule: Rule, situation: Situation) -> Difference:
    if rule.scope == "required" and not situation.reference.baseline.required:
        return Difference(
            message=f"{rule.path} means nothing: the baseline does not know which packages the model needs",
            unknown=True,
            hint="create the baseline with --package NAME for each that counts",
        )
    return Difference(
        message=f"{rule.path} means nothing, neither in training nor here", unknown=True, hint=_PATH_HINT
    )


def _in_scope(rule: Rule, path: Path, situation: Situation) -> bool:
    return rule.scope == "all" or path[1] in situation.reference.baseline.required
