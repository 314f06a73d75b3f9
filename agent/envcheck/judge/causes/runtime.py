"""What runs the model differs from training: versions, options, swapped outputs; or nothing does."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from envcheck.contract.evidence import Evidence, OutputMetrics
from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause, output_of, some, text
from envcheck.judge.comparison import Situation
from envcheck.judge.wheels import install_hint

_LEVEL = "graph_optimization_level"
_CLOSE = 1e-2


def optimisation(_finding: Finding, situation: Situation) -> Cause | None:
    """The graph is optimised otherwise: other kernels, other orders of summation."""
    here, there = _levels(situation)
    if not here or not there or here == there:
        return None
    return Cause(
        f"the graph is optimised otherwise: {_LEVEL} is {here} here, {there} in training",
        f"make the session with {there}, as in training",
    )


def differing(_finding: Finding, situation: Situation) -> Cause | None:
    """Name every version, provider and feature that differs: one of them may be why."""
    found = _differing_runtime(situation)
    if not found:
        return None
    return Cause(
        f"not proven; what runs the model differs from training: {', '.join(found)}", _mend(situation)
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


def not_the_machine(_finding: Finding, _situation: Situation) -> Cause | None:
    """Nothing of the machine's arithmetic differs, so the model is not the one of the reference outputs."""
    alike = "onnxruntime, numpy, Python, the provider and the CPU's features are as in training"
    return Cause(
        f"not known: {alike}; so the weights, or the inputs, may not be those of the baseline",
        "does `envcheck smoke` on the training machine still agree with this bundle? if not, freeze it anew",
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


def _levels(situation: Situation) -> tuple[str, str]:
    here = situation.evidence.runtime.options if situation.evidence is not None else {}
    return here.get(_LEVEL, ""), situation.reference.baseline.evidence.runtime.options.get(_LEVEL, "")


def _mend(situation: Situation) -> str:
    """Say how the versions of training get here, or that this Python can't have them."""
    here, there = situation.evidence, situation.reference.baseline.evidence
    if here is None or not there.runtime.onnxruntime or here.runtime.onnxruntime == there.runtime.onnxruntime:
        return "install the versions of training, then run again"
    python = here.runtime.python or text(situation.device, "python.version")
    return install_hint("onnxruntime", there.runtime.onnxruntime, python)


def _differing_runtime(situation: Situation) -> list[str]:
    """Name what differs in what ran the model, as far as both sides told."""
    there = situation.reference.baseline.evidence
    here = situation.evidence or there
    found = [
        f"{name} {ours or 'not known'} (training {theirs or 'not known'})"
        for name, ours, theirs in _pairs(here, there)
        if ours != theirs
    ]
    builds = [(side.runtime.onnxruntime, side.runtime.onnxruntime_build) for side in (here, there)]
    if builds[0] != builds[1] and builds[0][0] == builds[1][0]:
        found.append(f"another build of onnxruntime {builds[0][0]}")
    lacking = sorted(set(there.runtime.cpu_features) - set(here.runtime.cpu_features))
    if lacking:
        found.append(f"the CPU lacks {some(lacking)}")
    return [*found, *_options(here.runtime.options, there.runtime.options)]


def _options(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Name options that differ, the level apart: the number of threads is worth a last bit."""
    names = {name for name, _ in here.items() ^ there.items()} - {_LEVEL, "intra_op_num_threads"}
    return [
        f"the session option {name} is {here.get(name, 'not set')} (training {there.get(name, 'not set')})"
        for name in sorted(names)[:4]
    ]


def _pairs(here: Evidence, there: Evidence) -> tuple[tuple[str, str, str], ...]:
    return (
        ("onnxruntime", here.runtime.onnxruntime, there.runtime.onnxruntime),
        ("numpy", here.runtime.numpy, there.runtime.numpy),
        ("Python", here.runtime.python, there.runtime.python),
        ("the provider", ", ".join(here.registered), ", ".join(there.registered)),
    )
