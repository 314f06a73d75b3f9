"""Every section, in the order in which they are told. One line each: adding one touches nothing else."""

from __future__ import annotations

from envcheck.facts import cpu, cuda, memory, onnxruntime, packages, python, system, variables
from envcheck.facts.section import Gather

SECTIONS: tuple[tuple[str, Gather], ...] = (
    ("python", python.gather),
    ("packages", packages.gather),
    ("system", system.gather),
    ("cpu", cpu.gather),
    ("memory", memory.gather),
    ("cuda", cuda.gather),
    ("onnxruntime", onnxruntime.gather),
    ("variables", variables.gather),
)
