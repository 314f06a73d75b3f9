"""Every number of a device's evidence beside what a policy holds it to."""

from __future__ import annotations

import msgspec

from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Measure
from envcheck.judge.comparators import COMPARATORS
from envcheck.judge.comparison import Comparison, Situation
from envcheck.judge.evidence_rules import concrete_paths, reads_evidence
from envcheck.judge.judge import counts
from envcheck.judge.paths import get
from envcheck.judge.reference import Reference


def measure(
    reference: Reference, device: SharedFingerprint, evidence: Evidence | None, policy: Policy
) -> list[Measure]:
    """Return what was measured beside its tolerance, well within or not; empty where no evidence counts.

    Of two rules on one number the stricter is told.
    """
    if evidence is None or policy.evidence == "ignored" or not counts(reference, device, evidence):
        return []
    situation = Situation(reference=reference, device=device, evidence=evidence)
    told: dict[tuple[str, str], Measure] = {}
    for rule in filter(reads_evidence, policy.rules):
        comparator = COMPARATORS[rule.compare]
        if comparator.measure is None:
            continue
        options = msgspec.convert(rule.options, comparator.options)
        for path in concrete_paths(rule, situation.reference.baseline, evidence):
            sides = (get(reference.baseline.evidence, path), get(evidence, path))
            for one in comparator.measure(Comparison(("evidence", *path), *sides, options, situation)):
                key = (one.output, one.metric)
                if key not in told or _stricter(one, told[key]):
                    told[key] = one
    return list(told.values())


def _stricter(one: Measure, other: Measure) -> bool:
    order = ("pass", "drift", "unknown", "fail")
    return order.index(one.state) > order.index(other.state)
