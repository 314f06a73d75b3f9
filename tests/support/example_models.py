"""The example models of the repository as what baselines are made from."""

from __future__ import annotations

from support.sources import ROOT

from envcheck.baseline.material import Material, Source

DIGITS = ROOT / "examples" / "digits"


def digits(name: str) -> Source:
    """One of the example files."""
    return Source((DIGITS / name).read_bytes(), name)


def example(model: str, float_model: str | None = None) -> Material:
    """An example model with all the golden inputs and their labels."""
    original = digits(float_model) if float_model else None
    return Material(digits(model), digits("inputs.npz"), digits("labels.npz"), original)
