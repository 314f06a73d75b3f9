"""What values an output holds, and distances that are told but never judged by digits alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envcheck.contract.baseline import OutputReference
from envcheck.smoke.arrays import HUGE, numpy, rms, rounded, wide

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_WHOLE = {2: "int16", 4: "int32", 8: "int64"}
_BITS = {2: "uint16", 4: "uint32", 8: "uint64"}
# What stands for a probability of zero (or below) where training had more: the smallest normal float32.
_NEXT_TO_NOTHING = 2.0**-126


def describe_values(actual: Array, reference: Array, expected: OutputReference) -> dict[str, Any]:
    """Return the fields of `OutputMetrics` that describe an output comparable with its reference.

    Both have one shape. Only finite numbers count; booleans, text and complex numbers have no range.
    """
    found: dict[str, Any] = {}
    if actual.dtype.kind in "fiu":
        found.update(_range(wide(actual)))
    if actual.dtype.kind == "f":
        found["ulps"] = count_ulps(actual, reference)
    if expected.probabilities and actual.dtype.kind == "f" and actual.ndim and actual.size:
        found.update(_probabilities(wide(actual), wide(reference)))
    return found


def count_ulps(actual: Array, reference: Array) -> int | None:
    """Return the largest distance to `reference` in units of the last place of `actual`'s type.

    The reference is rounded to that type first. Three digits are kept; None without finite pairs.
    """
    np = numpy()
    size = actual.dtype.itemsize
    with np.errstate(over="ignore"):
        rounded_reference = reference.astype(actual.dtype)
    finite = np.isfinite(actual) & np.isfinite(rounded_reference)
    if size not in _WHOLE or not finite.any():
        return None
    here, there = (_in_order(array[finite], size) for array in (actual, rounded_reference))
    return int(rounded(int(np.max(np.maximum(here, there) - np.minimum(here, there)))))


def _in_order(values: Array, size: int) -> Array:
    """Number the floats of one width from the lowest to the highest; both zeros have one number."""
    np = numpy()
    signed = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")).view(_WHOLE[size])
    bits = signed.view(_BITS[size])
    middle = bits.dtype.type(1 << (8 * size - 1))
    ordered: Array = np.where(signed < 0, middle - (bits - middle), bits + middle)
    return ordered


def _range(values: Array) -> dict[str, float]:
    np = numpy()
    values = np.clip(values[np.isfinite(values)], -HUGE, HUGE)
    if not values.size:
        return {}
    # Divided first: sums and differences of doubles may be no doubles.
    middle = float(np.mean(values / values.size) * values.size)
    middle = min(max(middle, float(values.min())), float(values.max()))
    return {
        "low": rounded(values.min()),
        "high": rounded(values.max()),
        "mean": rounded(middle),
        "deviation": rounded(2 * rms(values / 2 - middle / 2)),
    }


def _probabilities(here: Array, there: Array) -> dict[str, float]:
    """How far rows are from summing to 1, and the mean divergence from training's rows, in nats."""
    np = numpy()
    whole = np.isfinite(here).all(axis=-1) & np.isfinite(there).all(axis=-1)
    here, there = here[whole], there[whole]
    if not here.size:
        return {}
    with np.errstate(over="ignore"):
        off = np.abs(here.sum(axis=-1) - 1)
    here, there = (np.maximum(rows, 0) for rows in (here, there))
    here = np.maximum(_summing_to_one(here), _NEXT_TO_NOTHING)
    there = _summing_to_one(there)
    there[there < _NEXT_TO_NOTHING] = 0
    ratio = np.divide(here, there, out=np.ones_like(here), where=there > 0)
    excess = np.divide(here - there, there, out=np.zeros_like(here), where=there > 0)
    logarithm = np.where(ratio < 0.5, np.log(ratio), np.log1p(np.maximum(excess, -0.5)))
    # p log(p / q) - p + q: each term is zero or more, so nothing cancels between them.
    terms = np.where(there > 0, there * np.maximum(excess - logarithm, 0), here)
    return {"sum_error": rounded(off.max()), "divergence": rounded(terms.sum(axis=-1).mean())}


def _summing_to_one(rows: Array) -> Array:
    np = numpy()
    largest = rows.max(axis=-1, keepdims=True)
    rows = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    total = rows.sum(axis=-1, keepdims=True)
    shares: Array = np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
    return shares
