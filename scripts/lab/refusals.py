"""Faults that belong to the training side: a baseline that must not come to be, and says why."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alterations as alter
import numpy as np
from alterations import Alteration
from environments import TRAINING, fleet, prepare
from matrix import Outcome, agent_environment
from models import Variant, baseline_command, golden, variant, write_arrays
from places import Unavailable, write_program

_VERDICTS = {0: "made", 2: "refused"}
Inputs = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Refusal:
    """What is wrong with the material of a baseline, and what the refusal must say.

    With `warns` a warning is enough: the baseline can be meant.
    """

    name: str
    what: str
    cause: str
    variant: str = "cnn-float"
    alter: Alteration | None = None
    inputs: Inputs = lambda images, labels: (images, labels)
    options: tuple[str, ...] = ("--expect-accuracy", "0.9")
    environment: str = TRAINING
    warns: bool = False

    @property
    def title(self) -> str:
        """What it is called in progress and reports."""
        return f"{self.name} | {self.variant} | {self.environment}"


def refusals() -> list[Refusal]:
    """Return every case of the training side."""
    return [
        Refusal(
            "random operator, in training",
            "the model draws random numbers",
            "random",
            alter=alter.random_noise,
            warns=True,
        ),
        Refusal("NaN, in training", "NaN among the logits", "NaN", alter=alter.not_a_number),
        Refusal(
            "constant inputs",
            "every sample is the same",
            "same for every sample",
            inputs=_constant,
            options=(),
        ),
        Refusal(
            "permuted labels",
            "labels moved by one sample",
            "accuracy",
            inputs=lambda x, y: (x, np.roll(y, 1)),
        ),
        Refusal(
            "wrong preprocessing",
            "images from 0 to 16, not from 0 to 1, upside down",
            "accuracy",
            inputs=lambda x, y: (x[:, :, ::-1] * 16, y),
        ),
        Refusal(
            "saturating CPU, in training",
            "int8 products saturate where the reference is made",
            "saturate",
            variant="cnn-dynamic-s8",
            environment="haswell",
        ),
        Refusal(
            "provider not there, in training",
            "CUDA asked for on a machine without it",
            "CUDAExecutionProvider",
            options=("--provider", "CUDAExecutionProvider"),
        ),
    ]


def _constant(images: Any, labels: Any) -> tuple[Any, Any]:
    return np.repeat(images[:1], len(images), axis=0), labels


def run(refusal: Refusal, agent: Path) -> Outcome:
    """Ask for the baseline with the command itself."""
    outcome = Outcome(refusal.name, refusal.what, "refusal", refusal.variant, refusal.environment)
    (environment,) = (one for one in fleet() if one.name == refusal.environment)
    try:
        ready = prepare(environment)
    except Unavailable as error:
        outcome.unavailable = str(error)
        return outcome
    with tempfile.TemporaryDirectory(prefix="envcheck-lab-") as name:
        folder = Path(name)
        python = write_program(folder / "python", f'#!/bin/sh\nexec {" ".join(ready.command)} "$@"\n')
        command = baseline_command(folder, _material(refusal), "lab@1", "--quick", "--python", python)
        images, labels = refusal.inputs(*golden())
        write_arrays(folder / "inputs.npz", {"image": np.ascontiguousarray(images, np.float32)})
        write_arrays(folder / "labels.npz", {"labels": labels})
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, *map(str, command[1:]), *refusal.options],
            check=False,
            env=agent_environment(agent),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
    outcome.wall_s = round(time.monotonic() - begin, 1)
    outcome.exit_code, outcome.stderr = done.returncode, done.stderr[-600:]
    outcome.verdict = _VERDICTS.get(done.returncode, f"exit {done.returncode}")
    if refusal.warns and outcome.verdict == "made" and "warning: " in done.stderr:
        outcome.verdict = "warned"
    outcome.findings = [{"severity": "block", "message": done.stderr[-600:]}]
    return outcome


def _material(refusal: Refusal) -> Variant:
    made = variant(refusal.variant)
    if refusal.alter is None:
        return made
    return Variant(made.name, alter.altered(made.model, refusal.alter), made.original)
