"""envcheck finds out before rollout whether a device runs a model as training did."""

__version__ = "0.1.0"
