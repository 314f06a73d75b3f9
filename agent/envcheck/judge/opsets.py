"""Which opset and which IR version each onnxruntime can load, as `contract.opsets` knows it."""

from __future__ import annotations

from envcheck.contract.opsets import is_version, needed, oldest_for, supported, too_new

__all__ = ["is_version", "needed", "oldest_for", "supported", "too_new"]
