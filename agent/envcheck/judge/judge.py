"""judge: what is different on this device, and what that means for this model. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Finding
from envcheck.judge.causes import explain
from envcheck.judge.comparison import Situation
from envcheck.judge.evidence_rules import evidence_findings, reads_evidence
from envcheck.judge.fact_rules import fact_findings
from envcheck.judge.findings import ordered, undetermined
from envcheck.judge.reference import Reference
from envcheck.judge.soundness import contradictions

# Part of the key under which findings are cached: raise it whenever equal inputs may give other findings.
JUDGE_VERSION = 6


def judge(
    reference: Reference, device: SharedFingerprint | None, evidence: Evidence | None, policy: Policy
) -> list[Finding]:
    """Return every finding on a device, worst first.

    `device` None means that its facts are not known; `evidence` None that it has measured nothing.
    Evidence measured under another fingerprint or bundle counts as missing. What is missing, unreadable or in
    error gives findings with `unknown`; whether the whole is `unknown` is for `decide`.
    """
    if device is None:
        return [undetermined("fingerprint", "the device's facts are not known", "run: envcheck report")]
    findings: list[Finding] = []
    ended: Evidence | None = None
    if policy.evidence == "ignored":
        evidence = None
    else:
        findings.extend(_evidence_state(reference, device, evidence))
        if findings:
            ended = evidence if findings[0].path == "evidence.ending" else None
            evidence = None
    situation = Situation(reference=reference, device=device, evidence=evidence, ended=ended)
    if evidence is not None:
        findings.extend(contradictions(evidence))
        findings.extend(evidence_findings(situation, evidence, [*filter(reads_evidence, policy.rules)]))
    findings.extend(fact_findings(situation, [rule for rule in policy.rules if not reads_evidence(rule)]))
    outputs_judged = policy.evidence == "required" and any(
        rule.compare == "noise-floor" for rule in policy.rules
    )
    return ordered(explain(findings, situation, outputs_judged=outputs_judged))


def counts(reference: Reference, device: SharedFingerprint, evidence: Evidence | None) -> bool:
    """Tell whether evidence is of this bundle and environment, and of a run that ended well."""
    return not any(True for _ in _evidence_state(reference, device, evidence))


def _withheld(device: SharedFingerprint) -> str | None:
    """Return why the variables of the service are not known, None when they are: any may change numbers."""
    section = device.sections.get("variables")
    return (section.reason or section.status) if section and section.status == "unreadable" else None


def _evidence_state(
    reference: Reference, device: SharedFingerprint, evidence: Evidence | None
) -> Iterator[Finding]:
    """Find what keeps evidence from being looked at at all: no policy can do without it silently."""
    run = "run: envcheck report"
    if evidence is None:
        yield undetermined("evidence", "the model was not run on this device", run)
    elif evidence.bundle != reference.bundle:
        yield undetermined("evidence", "the evidence was measured with another bundle", run)
    elif evidence.fingerprint != device.digest:
        yield undetermined("evidence", "the environment changed since the model was run on it", run)
    elif (withheld := _withheld(device)) is not None:
        yield undetermined(
            "evidence",
            f"the model may not have been run as its service runs it: {withheld}",
            "let the user of envcheck-report.service read the service's variables, then run: envcheck report",
        )
    elif evidence.ending.status != "ok":
        ending = evidence.ending
        yield Finding(
            rule="evidence.ending",
            path="evidence.ending",
            severity="block",
            message=ending.reason or f"the model's run ended in {ending.status}",
            expected="ok",
            actual=ending.status,
            hint=ending.hint,
        )
