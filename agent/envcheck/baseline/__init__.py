"""The training side: what the graph needs, the noise floor, the bundle."""

from envcheck.baseline.torch_module import from_torch

__all__ = ["from_torch"]
