"""The lab's own sums over the outputs of a cell: floors, and what other tools' tolerances would have said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from envcheck.contract.baseline import OutputReference
from envcheck.contract.bundle import REFERENCE, read_bundle
from envcheck.smoke.npz import load_npz

# Relative and absolute tolerance. Polygraphy's element must exceed both; the others' is their sum.
TOLERANCES = {"Polygraphy": (1e-5, 1e-5), "ONNX": (1e-3, 1e-7), "onnxruntime": (1e-3, 1e-3)}


def outputs(kept: Path, bundle: bytes) -> dict[str, Any]:
    """Return the numbers of every output that the agent's child left in `kept`, by name."""
    if not (kept / "result.json").exists():
        return {}
    opened = read_bundle(bundle, "the lab's bundle")
    references = load_npz(opened.members[REFERENCE], "the lab's references")
    baseline = opened.baseline()
    return {
        name: _numbers(np.load(kept / file), references[name], baseline.outputs[name])
        for name, file in _first_run(json.loads((kept / "result.json").read_text())).items()
        if name in references
    }


def _first_run(result: dict[str, Any]) -> dict[str, str]:
    for session in result.get("sessions", []):
        for run in session.get("runs", []):
            if session["name"] == "model" and run["repeat"] == 0:
                return {name: output["file"] for name, output in run["outputs"].items()}
    return {}


def _numbers(actual: Any, reference: Any, expected: OutputReference) -> dict[str, Any]:
    if actual.shape != reference.shape or expected.floor is None:
        return {"shape": list(actual.shape)}
    here, there = actual.astype(np.float64), reference.astype(np.float64)
    distance = np.abs(here - there)
    floor = expected.floor
    rmse, largest = float(np.sqrt(np.mean(distance**2))), float(distance.max())
    if not np.isfinite(largest):
        return {"shape": list(actual.shape), "refused_by": list(TOLERANCES)}
    return {
        "basis": floor.basis,
        "rmse": rmse,
        "max": largest,
        "rmse_floors": rmse / floor.rms,
        "max_floors": largest / floor.max,
        "rmse_scale": rmse / floor.scale,
        "floor_scale": floor.rms / floor.scale,
        "flipped": int((here.argmax(-1) != there.argmax(-1)).sum()),
        "refused_by": [name for name in TOLERANCES if _refuses(name, distance, there)],
    }


def _refuses(name: str, distance: Any, reference: Any) -> bool:
    relative, absolute = TOLERANCES[name]
    scale = np.abs(reference)
    if name == "Polygraphy":
        return bool(np.any(~((distance <= absolute) | (distance <= relative * scale))))
    return bool(np.any(~(distance <= absolute + relative * scale)))
