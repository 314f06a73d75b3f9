"""Which opset and which IR version each onnxruntime can load: known before anything is run."""

from __future__ import annotations

import re
from typing import NamedTuple

from envcheck.contract.baseline import Graph


class Supported(NamedTuple):
    """The newest opset of ONNX's own operators, and the newest IR version."""

    opset: int
    ir_version: int


_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
# Measured: the newest that each release loads a one-node graph of. A release that is not listed supports what
# the one before it does, one before the first no more than that; what is newer than the last is not known.
_SUPPORTED: dict[tuple[int, int], Supported] = {
    (1, 16): Supported(19, 9),
    (1, 17): Supported(20, 9),
    (1, 18): Supported(21, 10),
    (1, 21): Supported(22, 10),
    (1, 23): Supported(23, 11),
    (1, 24): Supported(25, 13),
    (1, 25): Supported(26, 13),
    (1, 32): Supported(28, 14),
}


def is_version(version: str) -> bool:
    """Tell whether a text begins like a version of onnxruntime."""
    return _VERSION.match(version) is not None


def supported(version: str) -> Supported | None:
    """Return what an onnxruntime of that version can load at most; None when it is not known."""
    found = _VERSION.match(version)
    release = (int(found[1]), int(found[2])) if found else (0, 0)
    if found is None or release > max(_SUPPORTED):
        return None
    return _SUPPORTED[max((known for known in _SUPPORTED if known <= release), default=min(_SUPPORTED))]


def needed(graph: Graph) -> Supported:
    """Return what a model needs to be loaded."""
    return Supported(graph.opsets.get("", graph.opsets.get("ai.onnx", 0)), graph.ir_version)


def too_new(graph: Graph, version: str) -> str:
    """Say what of a model an onnxruntime of that version can't load, "" when nothing or not known."""
    can, needs = supported(version), needed(graph)
    if can is None:
        return ""
    if needs.opset > can.opset:
        return f"the model needs opset {needs.opset}; onnxruntime {version} supports up to {can.opset}"
    if needs.ir_version > can.ir_version:
        return (
            f"the model has IR version {needs.ir_version}; onnxruntime {version} reads up to {can.ir_version}"
        )
    return ""


def oldest_for(graph: Graph) -> str:
    """Return the oldest onnxruntime that loads a model, "" when none is known."""
    return oldest_with(needed(graph))


def oldest_with(needs: Supported) -> str:
    """Return the oldest onnxruntime that supports an opset and an IR version, "" when none is known."""
    for release, can in _SUPPORTED.items():
        if needs.opset <= can.opset and needs.ir_version <= can.ir_version:
            # The first wheel of 1.24 was its first correction.
            return "1.24.1" if release == (1, 24) else f"{release[0]}.{release[1]}.0"
    return ""
