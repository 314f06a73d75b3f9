"""The right numbers in the wrong place, or other ones each time: the graph's doing, not the machine's."""

from __future__ import annotations

from itertools import permutations

from envcheck.contract.evidence import OutputMetrics
from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause, output_of
from envcheck.judge.comparison import Situation

_CLOSE = 1e-2
# Numbers that describe an output are kept to three digits: equal ones differ by less.
_SAME = 5e-3
# An error as large as this share of an output's own deviation is none of rounding.
_GROSS = 0.25
_DESCRIBED = ("low", "high", "mean", "deviation")


def unrepeatable(_finding: Finding, situation: Situation) -> Cause | None:
    """Runs differ among themselves, so none can agree with the reference."""
    evidence, there = situation.evidence, situation.reference.baseline.evidence
    if evidence is None or evidence.repeatable is not False or there.repeatable is False:
        return None
    drawing = situation.reference.baseline.graph.random
    if drawing:
        return Cause(
            f"the model draws random numbers ({', '.join(drawing[:4])})", "give its operators a seed"
        )
    return Cause(
        "runs of the same inputs differ among themselves here, and did not in training: random operators "
        "(RandomNormal, Dropout in training mode), or sums in changing order",
        "is the model here the one that was released? on a GPU, ask for deterministic kernels",
    )


def another_shape(finding: Finding, situation: Situation) -> Cause | None:
    """An output of another name, type or shape comes of another graph, not of arithmetic."""
    metrics = output_of(finding, situation)
    expected = situation.reference.baseline.outputs.get(finding.path.removeprefix("evidence.outputs."))
    if not finding.path.startswith("evidence.outputs.") or (
        metrics is not None
        and expected is not None
        and metrics.problem in ("", "non-finite")
        and (metrics.dtype, metrics.shape) == (expected.dtype, expected.shape)
    ):
        return None
    return Cause(
        "another graph: names, types and shapes of outputs do not depend on the machine",
        "freeze the baseline anew from the model that is meant",
    )


def swapped(finding: Finding, situation: Situation) -> Cause | None:
    """Outputs of one shape hold each other's numbers: their order was changed."""
    here = situation.evidence.outputs if situation.evidence is not None else {}
    there = situation.reference.baseline.evidence.outputs
    name = finding.path.removeprefix("evidence.outputs.")
    pair = next(
        (
            (one, other)
            for one, other in permutations(sorted(set(here) & set(there)), 2)
            if name == one and _alike(here[one], there[other]) and _alike(here[other], there[one])
        ),
        None,
    )
    if pair is None:
        return None
    return Cause(
        f"the outputs {pair[0]} and {pair[1]} are swapped: each holds what the other held in training",
        "give the outputs their names in training's order when the model is exported",
    )


def permuted(finding: Finding, situation: Situation) -> Cause | None:
    """What describes an output is as in training, and its elements are not: they stand in another order."""
    name = finding.path.removeprefix("evidence.outputs.")
    here, there = output_of(finding, situation), situation.reference.baseline.evidence.outputs.get(name)
    if here is None or there is None or here.rmse is None or not there.deviation:
        return None
    pairs = [(getattr(here, field), getattr(there, field)) for field in _DESCRIBED]
    same = all(
        mine is not None and theirs is not None and abs(mine - theirs) <= _SAME * there.deviation
        for mine, theirs in pairs
    )
    if not same or here.rmse < _GROSS * there.deviation:
        return None
    return Cause(
        "the same numbers stand in another order: classes or samples are permuted",
        "is the order of the classes training's when the model is exported? are the inputs the baseline's?",
    )


def _alike(here: OutputMetrics, there: OutputMetrics) -> bool:
    """Tell whether two outputs hold the same numbers: by their digests, else by what describes them."""
    if (here.dtype, here.shape) != (there.dtype, there.shape):
        return False
    if here.digest and here.digest == there.digest:
        return True
    pairs = [(getattr(here, name), getattr(there, name)) for name in ("low", "high", "mean", "deviation")]
    known = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
    spread = (there.high or 0.0) - (there.low or 0.0)
    return len(known) == len(pairs) and all(abs(mine - theirs) <= _CLOSE * spread for mine, theirs in known)
