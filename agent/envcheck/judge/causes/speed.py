"""Why a device would be slow: known from its facts and evidence, without a clock."""

from __future__ import annotations

import math
from collections.abc import Callable

from envcheck.judge.causes.cause import Cause
from envcheck.judge.causes.runtime import optimisation_levels
from envcheck.judge.comparison import Situation
from envcheck.judge.facts_of import number, some, text, texts

# These drivers' `powersave` follows the load; the others' is the lowest frequency, always.
_DYNAMIC_POWERSAVE = ("intel_pstate", "amd-pstate-epp")
_WIDE = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")


def slow(situation: Situation) -> Cause | None:
    """Return the first thing that makes this environment slow for this model, None when nothing tells."""
    return next((found for rule in SPEED if (found := rule(situation)) is not None), None)


def fell_back(situation: Situation) -> Cause | None:
    """Another provider than training's runs the model."""
    evidence, wanted = situation.evidence, situation.reference.baseline.providers[:1]
    if evidence is None or not evidence.registered or not wanted or wanted == evidence.registered[:1]:
        return None
    words = f"{evidence.registered[0]} runs the model in place of {wanted[0]}"
    return Cause(words, "see what is said of the providers")


def subnormals(situation: Situation) -> Cause | None:
    """Weights below the smallest normal number take a slow path on a CPU that keeps them."""
    evidence, count = situation.evidence, situation.reference.baseline.graph.subnormal
    if not count or evidence is None or evidence.canaries.get("denormals") != "kept":
        return None
    return Cause(
        f"the model has {count} subnormal weights, and this CPU computes with them the slow way",
        "set the session option session.set_denormal_as_zero to 1, or such weights to zero before release",
    )


def quota(situation: Situation) -> Cause | None:
    """The control group grants less than the processors that threads are made for."""
    grants = [number(situation.device, path) for path in ("cpu.quota", "variables.unit.cpu_quota")]
    granted = min((found for found in grants if found is not None), default=math.inf)
    there = number(situation.device, "cpu.affinity") or number(situation.device, "cpu.threads")
    if there is None or not granted < there:
        return None
    return Cause(
        f"the control group grants {granted:g} of the {there:g} CPUs",
        "raise the quota (CPUQuota= of the unit, --cpus of the container), or state a budget for it",
    )


def unoptimised(situation: Situation) -> Cause | None:
    """The graph is optimised less, or otherwise, than in training."""
    here, there = optimisation_levels(situation)
    if not here or not there or here == there:
        return None
    words = f"graph_optimization_level is {here} here, {there} in training"
    return Cause(words, f"make the session with {there}")


def lowest_frequency(situation: Situation) -> Cause | None:
    """A governor keeps the processor at its lowest frequency."""
    driver = text(situation.device, "cpu.frequency_driver")
    if "powersave" not in texts(situation.device, "cpu.governors") or driver in ("", *_DYNAMIC_POWERSAVE):
        return None
    return Cause(
        "the governor powersave keeps the processor at its lowest frequency",
        "cpupower frequency-set --governor schedutil",
    )


def narrow(situation: Situation) -> Cause | None:
    """Training's CPU had wider instructions, which this model's kernels use."""
    here = set(texts(situation.device, "cpu.isa"))
    there = texts(situation.reference.training, "cpu.isa")
    lacking = [name for name in there if name in _WIDE and name not in here]
    if not here or not lacking:
        return None
    return Cause(
        f"this CPU has no {some(lacking)}, training's has: slower kernels run in their place",
        "state a budget for this device class, or choose devices with them",
    )


SPEED: tuple[Callable[[Situation], Cause | None], ...] = (
    *(fell_back, subnormals, quota, unoptimised, lowest_frequency, narrow),
)
