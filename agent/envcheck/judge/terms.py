"""What a device's readings are held to: worked out once for a policy, a release and an environment."""

from __future__ import annotations

import math

import msgspec

from envcheck.contract.baseline import Baseline
from envcheck.contract.document import Value
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.contract.policy import Budget, Policy, Timing
from envcheck.judge.causes.cause import Cause
from envcheck.judge.causes.speed import slow
from envcheck.judge.comparison import Situation
from envcheck.judge.device_class import device_class
from envcheck.judge.reference import Reference
from envcheck.judge.tolerance import CPU, first_provider


class Terms(Value, frozen=True, kw_only=True):
    """Limits for readings, and what is known of why they may not be kept.

    `budget` is the one in force for this `device_class`; `samples` are those of one timed run;
    `trained_p50_ms` is training's median latency on this class, None when it has none. `model` is the digest
    of the released model. `slow` says why a machine of this environment would be slow, None when nothing
    tells. `open` names what could not be worked out, "" when nothing.
    """

    device_class: str = ""
    budget: Budget = msgspec.field(default_factory=Budget)
    samples: int = 1
    trained_p50_ms: float | None = None
    timing: Timing | None = None
    model: str = ""
    slow: Cause | None = None
    open: str = ""


_NO_CLASS = "the device class is not known"


def stated_terms(policy: Policy) -> Terms:
    """Return what a policy says without regard to device and release."""
    by_release = policy.timing is not None and policy.timing.severity == "block"
    throughput = policy.budget.throughput is not None
    return Terms(
        budget=msgspec.structs.replace(policy.budget, throughput=None),
        open=_NO_CLASS if policy.budgets or by_release or throughput else "",
    )


def terms_of(
    policy: Policy, reference: Reference, device: SharedFingerprint | None, evidence: Evidence | None
) -> Terms:
    """Work out what readings of such a device are held to. Evidence that does not count may be given."""
    if device is None:
        return stated_terms(policy)
    baseline = reference.baseline
    counted = evidence if evidence is not None and evidence.ending.status == "ok" else None
    provider = next(iter(baseline.providers), CPU) if counted is None else first_provider(counted)
    name = device_class(device, provider)
    timed = baseline.timings.get(name) if name else None
    trained = timed.latency if timed is not None else None
    situation = Situation(reference=reference, device=device, evidence=counted)
    return Terms(
        device_class=name,
        budget=_in_force(policy, name),
        samples=samples_of_a_run(baseline),
        trained_p50_ms=trained.p50_ms if trained is not None else None,
        timing=policy.timing,
        model=baseline.graph.sha256,
        slow=slow(situation),
        open="" if name or not policy.budgets else _NO_CLASS,
    )


def p50_for(throughput: float, samples: int) -> float:
    """Return the slowest median latency, in ms, at which runs of `samples` still give that many a second."""
    return 1000 * samples / throughput if throughput > 0 else math.inf


def limits_of(policy: Policy, baseline: Baseline) -> dict[str, list[float]]:
    """Return every limit that some device of a fleet may be held to, by the figure (p50_ms, p90_ms,
    peak_memory_mb), sorted.

    Two results of one environment that lie on the same side of all of them get the same verdict: a store may
    count devices by that.
    """
    budgets = [policy.budget, *policy.budgets.values()]
    samples = samples_of_a_run(baseline)
    found: dict[str, set[float]] = {
        name: {limit for budget in budgets if (limit := getattr(budget, name)) is not None}
        for name in ("p50_ms", "p90_ms", "peak_memory_mb")
    }
    found["p50_ms"] |= {p50_for(one.throughput, samples) for one in budgets if one.throughput is not None}
    if policy.timing is not None:
        timed = [one.latency for one in baseline.timings.values() if one.latency is not None]
        found["p50_ms"] |= {policy.timing.factor * latency.p50_ms for latency in timed}
    return {name: sorted(limits) for name, limits in found.items()}


def samples_of_a_run(baseline: Baseline) -> int:
    """Return how many samples one timed run takes: all, or as many as the graph's batch is fixed to."""
    firsts = [spec.shape[0] for spec in baseline.graph.inputs if spec.shape]
    fixed = [first for first in firsts if isinstance(first, int) and first > 0]
    if len(fixed) < len(firsts) or not fixed or fixed[0] > baseline.samples:
        return max(baseline.samples, 1)
    return fixed[0]


def _in_force(policy: Policy, name: str) -> Budget:
    """Each limit that a class states stands in place of the general one."""
    stated = policy.budgets.get(name, Budget())
    limits = {field: getattr(stated, field) for field in Budget.__struct_fields__}
    known = {field: limit for field, limit in limits.items() if limit is not None}
    return msgspec.structs.replace(policy.budget, **known)
