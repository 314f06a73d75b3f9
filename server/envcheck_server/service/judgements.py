"""Findings for many environments: judged once, kept, and judged again only for other inputs."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from envcheck.contract.baseline import Baseline
from envcheck.contract.document import Document, decode, encode
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import (
    SECTION_NAMES,
    Fingerprint,
    SectionDigests,
    SharedFingerprint,
    SharedSection,
)
from envcheck.contract.fingerprint import shared_fingerprint as shared_of
from envcheck.contract.policy import Budget, Policy
from envcheck.contract.verdict import Finding, Findings
from envcheck.judge.judge import JUDGE_VERSION, judge
from envcheck.judge.reference import Reference
from envcheck.judge.terms import Terms, stated_terms, terms_of
from envcheck_server.service.errors import NotKnown
from envcheck_server.service.objects import KINDS
from envcheck_server.service.times import Clock
from envcheck_server.store.interface import Store
from envcheck_server.store.values import FindingsKey, Release

D = TypeVar("D", bound=Document)

_AT_ONCE = 200
_MOST_TERMS = 20_000
_LOG = logging.getLogger("envcheck_server")
_NOT_JUDGED = Finding(
    rule="fingerprint",
    path="fingerprint",
    severity="block",
    unknown=True,
    message="this environment could not be judged",
    hint="the collector's log says why",
)


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged: a fingerprint, and evidence or "" where a device has none for the bundle."""

    fingerprint: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Held:
    """A release as devices are held to it."""

    release: Release
    reference: Reference
    policy: Policy

    def case(self, fingerprint: str, evidence: dict[str, str]) -> Case:
        """Return the case of a device; evidence plays no part where the policy ignores it."""
        ignored = self.policy.evidence == "ignored"
        return Case(fingerprint, "" if ignored else evidence.get(self.release.bundle, ""))


class JudgementService:
    """Judges environments against a release."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # What was worked out before: like findings, but small, and soon worked out again.
        self._terms: OrderedDict[FindingsKey, Terms] = OrderedDict()

    def hold(self, release: Release) -> Held:
        """Decode what devices are held to."""
        bundle = self._store.releases.bundle(release.bundle)
        if bundle is None:
            raise NotKnown(f"the bundle of {release.release} is gone")
        source = f"the bundle of {release.release}"
        reference = Reference(
            bundle=bundle.sha256,
            baseline=decode(bundle.baseline, Baseline, source),
            training=shared_of(decode(bundle.fingerprint, Fingerprint, source)),
        )
        return Held(release, reference, decode(release.policy, Policy, "the policy"))

    def findings(self, held: Held, cases: Collection[Case]) -> dict[Case, list[Finding]]:
        """Return the findings of every case, from the store where they were judged before."""
        keys = {case: _key(held, case) for case in cases}
        kept = self._store.releases.findings(keys.values())
        found = {
            case: decode(kept[key], Findings, "findings").findings
            for case, key in keys.items()
            if key in kept
        }
        for some in _chunks([case for case in keys if case not in found]):
            fresh, whole = self._judge(held, some)
            found.update(fresh)
            keep = {keys[case]: encode(Findings(findings=fresh[case])) for case in whole}
            if keep:
                self._store.releases.put_findings(keep, self._clock())
        return found

    def terms(self, held: Held, cases: Collection[Case]) -> dict[Case, Terms]:
        """Return what readings of each case are held to."""
        policy = held.policy
        by_class = policy.budgets or (policy.timing is not None and policy.timing.severity == "block")
        if not by_class and policy.budget == Budget():
            # Nothing depends on the device, and warnings are for `check`.
            same = msgspec.structs.replace(stated_terms(policy), model=held.reference.baseline.graph.sha256)
            return dict.fromkeys(cases, same)
        keys = {case: _key(held, case) for case in cases}
        found = {case: self._terms[key] for case, key in keys.items() if key in self._terms}
        for some in _chunks([case for case in keys if case not in found]):
            found.update(self._work_out(held, some))
        while len(self._terms) > _MOST_TERMS:
            self._terms.popitem(last=False)
        return found

    def _work_out(self, held: Held, cases: list[Case]) -> dict[Case, Terms]:
        fingerprints = self.fingerprints({case.fingerprint for case in cases})
        evidence = self._objects({case.evidence for case in cases if case.evidence}, Evidence)
        found: dict[Case, Terms] = {}
        for case in cases:
            device, measured = fingerprints.get(case.fingerprint), evidence.get(case.evidence)
            found[case] = terms_of(held.policy, held.reference, device, measured)
            if device is not None and (measured is not None or not case.evidence):
                self._terms[_key(held, case)] = found[case]
        return found

    def fingerprints(self, digests: Collection[str]) -> dict[str, SharedFingerprint]:
        """Return those fingerprints all of whose sections are here."""
        wholes = self._objects(digests, SectionDigests)
        sections = self._objects(
            {target for whole in wholes.values() for target in whole.sections.values()}, SharedSection
        )
        return {
            digest: SharedFingerprint(
                digest=digest,
                sections={name: sections[target] for name, target in whole.sections.items()},
            )
            for digest, whole in wholes.items()
            if all(target in sections for target in whole.sections.values())
        }

    def _judge(self, held: Held, cases: list[Case]) -> tuple[dict[Case, list[Finding]], list[Case]]:
        """Return findings, and the cases of which nothing was missing: only those may be kept."""
        fingerprints = self.fingerprints({case.fingerprint for case in cases})
        evidence = self._objects({case.evidence for case in cases if case.evidence}, Evidence)
        found: dict[Case, list[Finding]] = {}
        whole: list[Case] = []
        for case in cases:
            device, measured = fingerprints.get(case.fingerprint), evidence.get(case.evidence)
            findings = _judge_one(held, case, device, measured)
            if findings is None:
                found[case] = [_NOT_JUDGED]
            elif device is not None and (measured is not None or not case.evidence):
                found[case] = findings
                whole.append(case)
            else:
                found[case] = [_not_arrived(finding) for finding in findings] if device else findings
        return found, whole

    def _objects(self, digests: Collection[str], kind: type[D]) -> dict[str, D]:
        """Return those objects that are here and of this kind: a device may state any digest as any."""
        found = self._store.objects.get(digests, KINDS[kind]) if digests else {}
        return {name: decode(data, kind, f"object {name}") for name, data in found.items()}


def _key(held: Held, case: Case) -> FindingsKey:
    return FindingsKey(
        bundle=held.release.bundle,
        fingerprint=case.fingerprint,
        evidence=case.evidence,
        policy=held.release.policy_digest,
        judge_version=JUDGE_VERSION,
    )


def _judge_one(
    held: Held, case: Case, device: SharedFingerprint | None, evidence: Evidence | None
) -> list[Finding] | None:
    """Judge one environment; None where that fails: one odd device must not take the gate from the others."""
    try:
        return [*judge(held.reference, device, evidence, held.policy), *_unknown_findings(device)]
    except Exception:  # noqa: BLE001  (logged, and told as unknown)
        _LOG.exception(
            "fingerprint %s could not be judged against %s", case.fingerprint, held.release.release
        )
        return None


def unknown_sections(device: SharedFingerprint | None) -> list[str]:
    """Return the kinds of section that a newer agent tells and no rule here can be about."""
    return sorted({name[:80] for name in device.sections if name not in SECTION_NAMES} if device else ())


def _unknown_findings(device: SharedFingerprint | None) -> Iterator[Finding]:
    """Yield what is kept, and never taken for well."""
    for name in unknown_sections(device):
        yield Finding(
            rule=name,
            path=name,
            severity="info",
            unknown=True,
            message="this collector does not know this kind of section; it was not judged",
            hint="upgrade envcheck-server",
        )


def _not_arrived(finding: Finding) -> Finding:
    if finding.path != "evidence":
        return finding
    return Finding(
        rule=finding.rule,
        path=finding.path,
        severity=finding.severity,
        unknown=True,
        message="the device's evidence has not arrived yet",
        hint="it is asked for with the next report",
    )


def _chunks(cases: list[Case]) -> Iterable[list[Case]]:
    return (cases[start : start + _AT_ONCE] for start in range(0, len(cases), _AT_ONCE))
