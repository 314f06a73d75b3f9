"""numpy where it is needed, and only there."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any

from envcheck.contract.canonical import significant
from envcheck.errors import MissingExtra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Rounding the largest double to three digits would make an infinity of it.
HUGE = 1e308


def numpy() -> Any:
    """Return the module numpy; raises MissingExtra where the agent's environment has none."""
    try:
        import numpy as module
    except ImportError:
        raise MissingExtra("numpy", "smoke", "comparing outputs") from None
    return module


def require_numpy() -> None:
    """Raise MissingExtra where the agent's environment has no numpy, without importing it."""
    if find_spec("numpy") is None:
        numpy()


def start_numpy() -> None:
    """Begin to import numpy beside whatever comes next; raises MissingExtra where there is none.

    It takes as long as a short smoke run's whole preparation, and is needed only when that has ended.
    """
    require_numpy()
    Thread(target=load_numpy, daemon=True).start()


def load_numpy() -> None:
    """Import numpy before it is needed; one that can't be imported is told when it is."""
    with suppress(MissingExtra):
        numpy()


def type_name(array: Array) -> str:
    """Return the name of an array's element type as ONNX graphs are read here: `float32`, `string`."""
    return "string" if array.dtype.kind == "U" else str(array.dtype.name)


def wide(array: Array) -> Array:
    """Raise to double before anything is subtracted; complex numbers become pairs."""
    np = numpy()
    if array.dtype.kind == "c":
        array = np.ascontiguousarray(array).astype(np.complex128).view(np.float64)
    raised: Array = array.astype(np.float64)
    return raised


def rms(values: Array) -> float:
    """Return the root of the mean square, scaled first so that no square overflows or vanishes."""
    np = numpy()
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest * float(np.sqrt(np.mean(np.square(values / largest)))) if largest > 0 else 0.0


def rounded(value: float) -> float:
    """Round to three significant digits, and never to an infinity."""
    return significant(max(-HUGE, min(float(value), HUGE)))
