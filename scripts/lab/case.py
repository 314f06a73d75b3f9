"""What a case of the lab is: what is planted in which models and environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from alterations import Alteration
from environments import OLDEST, TRAINING
from models import NETWORKS, names

# healthy: must pass. fault: must fail. told: must be named, whether or not it blocks. below: no tolerance
# that passes healthy machines can tell it.
Truth = Literal["healthy", "fault", "told", "below"]
Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One thing that is planted (or nothing), in some models and environments.

    `cause` is a regular expression that the words of a right verdict match. `alter` changes the model in
    the bundle, `deployed` the file that the configuration names as deployed, `spoil` a copy of the
    virtual environment; `shell` is run before the interpreter starts. `options` and `trained_in` are how
    the baseline was made, `changes` what is claimed in it.
    """

    name: str
    what: str
    truth: Truth
    variants: tuple[str, ...]
    environments: tuple[str, ...]
    cause: str = ""
    alter: Alteration | None = None
    deployed: Alteration | None = None
    shell: str = ""
    spoil: Spoil | None = None
    trained_in: str = TRAINING
    options: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    deadline_s: float = 300.0


FLOATS = tuple(f"{network}-float" for network in NETWORKS)
QUANTISED = tuple(name for name in names() if name not in FLOATS)
SATURABLE = tuple(name for name in QUANTISED if not name.endswith("-u8"))
# AVX2 without VNNI: truth from the manufacturer's tables, not from envcheck's own canary.
SATURATING = ("haswell", "haswell-old", "epyc-milan")
SME = "arm64-sme"
# Its ConvInteger takes int8 weights.
KERNEL_LESS = "cnn-dynamic-s8"
# The oldest and the newest onnxruntime, and CPUs that have no kernel in common.
DIFFERENT = (TRAINING, OLDEST, "haswell", "nehalem", "cortex-a72", "arm64-max")
NATIVE = (TRAINING, OLDEST)
OPENVINO = ("--provider", "OpenVINOExecutionProvider", "--provider", "CPUExecutionProvider")
