"""numpy where it is needed, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envcheck.errors import MissingExtra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def numpy() -> Any:
    """Return the module numpy; raises MissingExtra where the agent's environment has none."""
    try:
        import numpy as module
    except ImportError:
        raise MissingExtra("numpy", "smoke", "comparing outputs") from None
    return module


def type_name(array: Array) -> str:
    """Return the name of an array's element type as ONNX graphs are read here: `float32`, `string`."""
    return "string" if array.dtype.kind == "U" else str(array.dtype.name)
