"""Rules over evidence: which concrete measurements they mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envcheck.contract.baseline import Baseline
from envcheck.contract.evidence import Evidence
from envcheck.contract.policy import Rule
from envcheck.contract.verdict import Finding
from envcheck.judge.comparison import Situation
from envcheck.judge.findings import compare, undetermined
from envcheck.judge.paths import expand, get, split


def reads_evidence(rule: Rule) -> bool:
    """Tell whether a rule is about evidence, not about facts."""
    return rule.path.startswith("evidence.")


def evidence_findings(situation: Situation, evidence: Evidence, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Find what differs in the device's evidence. All rules apply."""
    baseline = situation.reference.baseline
    for rule in rules:
        for path in concrete_paths(rule, baseline, evidence):
            yield from compare(
                situation, rule, ("evidence", *path), get(baseline.evidence, path), get(evidence, path)
            )
    names = {rule.compare for rule in rules}
    if rules and not _judges_anything(names, baseline):
        yield undetermined(
            "evidence",
            "nothing that the policy judges in evidence is there in this baseline",
            "judge evidence.outputs.* by noise-floor, or create the baseline with --labels",
        )


def concrete_paths(rule: Rule, baseline: Baseline, evidence: Evidence) -> list[tuple[str, ...]]:
    """Return the places in evidence that a rule means, on either side, without the word `evidence`."""
    steps = split(rule.path)[1:]
    paths = {*expand(baseline.evidence, steps), *expand(evidence, steps)}
    if steps[:2] == ("outputs", "*"):
        # What the baseline holds devices to counts, not what training's own evidence lists.
        paths |= {("outputs", name, *steps[2:]) for name in baseline.outputs}
    return sorted(paths)


def _judges_anything(names: set[str], baseline: Baseline) -> bool:
    """Tell whether some rule has something of this baseline to hold a device to."""
    whole = [output for output in baseline.outputs.values() if 0 not in output.shape]
    judged = {
        "noise-floor": bool(whole),
        "decisions": not baseline.graph.random and any(output.decides for output in whole),
        "order": len(baseline.outputs) > 1,
        "range": any(output.probabilities for output in whole),
        "batching": any(one.batching_rms is not None for one in baseline.evidence.outputs.values()),
        "fallback": len(baseline.evidence.registered) > 1,
        "accuracy": baseline.evidence.accuracy is not None,
        "saturation": baseline.graph.saturable > 0,
    }
    return any(judged.get(name, True) for name in names)
