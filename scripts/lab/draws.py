"""How surely a perturbation is found: many draws of the same size, on this machine, without the agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alterations as alter
import numpy as np
import onnxruntime
from case import FLOATS
from environments import TRAINING, fleet, virtual_environment
from models import INPUT, freeze, golden, open_bundle, variant

from envcheck.contract.bundle import REFERENCE, Bundle
from envcheck.judge.reference import reference_of
from envcheck.judge.tolerance import FloorOptions, tolerance
from envcheck.smoke.npz import load_npz

SHARES = (1e-5, 3e-6, 1e-6, 3e-7, 1e-7)
DRAWS = 24


@dataclass(frozen=True)
class Drawn:
    """Of `DRAWS` models whose weights were moved by `share`: the worst error over what is allowed, sorted."""

    variant: str
    share: float
    excess: list[float]


def draw(agent: Path) -> list[Drawn]:
    """Run every draw against the tolerance that the policy `default` has."""
    (training,) = (one for one in fleet() if one.name == TRAINING)
    python = virtual_environment(training.python, training.requirements)
    found = []
    for name in FLOATS:
        bundle = open_bundle(freeze(variant(name), python, agent))
        found += [_drawn(bundle, name, share) for share in SHARES]
    return found


def _drawn(bundle: Bundle, name: str, share: float) -> Drawn:
    model = variant(name).model
    moved = (alter.altered(model, alter.moved(share, seed)) for seed in range(DRAWS))
    return Drawn(name, share, sorted(_excess(bundle, each) for each in moved))


def _excess(bundle: Bundle, model: bytes) -> float:
    reference = reference_of(bundle)
    expected = load_npz(bundle.members[REFERENCE], "the lab's references")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = zip(expected, session.run(list(expected), {INPUT: golden()[0]}), strict=True)
    return max(_ratio(name, array, expected[name], reference) for name, array in outputs)


def _ratio(name: str, actual: Any, expected: Any, reference: Any) -> float:
    output = reference.baseline.outputs[name]
    evidence = reference.baseline.evidence
    allowed = tolerance(output, output.floor, reference, evidence, FloorOptions())
    distance = np.abs(actual.astype(np.float64) - expected)
    return max(float(np.sqrt(np.mean(distance**2))) / allowed.rms, float(distance.max()) / allowed.max)
