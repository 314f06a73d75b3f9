"""Refuses outputs that prove nothing: empty, not finite, or the same for every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envcheck.baseline.material import Prepared
from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_EPSILON = 2.0**-23


def check_alive(
    references: Mapping[str, Array], prepared: Prepared, *, non_finite: bool, constant: bool
) -> None:
    """Refuse outputs that prove nothing, unless `non_finite` or `constant` accepts them; raises BadInput.

    Whether samples differ is asked of those that were given: edge cases always would.
    """
    for name, array in references.items():
        if not array.size and not constant:
            raise BadInput(
                f"output {name} is empty for these inputs, {list(array.shape)}: nothing is compared",
                "give inputs to which the model has an answer; if this is meant, say --accept-constant",
            )
        if array.dtype.kind not in "fc":
            continue
        if not non_finite:
            _check_finite(name, array, prepared)
        if not constant and _is_constant(_of_given(array, prepared), prepared.given):
            raise BadInput(
                f"output {name} is the same for every sample: these inputs exercise nothing",
                "give inputs as the model meets them; if this is meant, say --accept-constant",
            )


def _check_finite(name: str, array: Array, prepared: Prepared) -> None:
    finite = numpy().isfinite(array)
    given = _of_given(finite, prepared)
    if bad := int(given.size - given.sum()):
        raise BadInput(
            f"output {name}: {bad} of {given.size} elements are NaN or infinite in training",
            "look at the model and its inputs; if this is meant, say --accept-non-finite",
        )
    if finite.all():
        return
    guilty = [
        case for case, row in zip(prepared.edge_cases, finite[prepared.given :], strict=True) if not row.all()
    ]
    raise BadInput(
        f"output {name}: NaN or infinite numbers come of the edge case {' and '.join(_once(guilty))}",
        "mend the model, or leave --edge-cases out where no device meets such a sample; "
        "if this is meant, say --accept-non-finite",
    )


def _once(names: Sequence[str]) -> list[str]:
    return [f"{name!r}" for name in dict.fromkeys(names)]


def _of_given(array: Array, prepared: Prepared) -> Array:
    """Leave the edge cases out, where the first axis is that of the samples."""
    apart = array.ndim > 0 and len(array) == prepared.batching.samples
    return array[: prepared.given] if apart else array


def _is_constant(array: Array, samples: int) -> bool:
    """Whether samples do not differ by more than rounding; one sample is compared within itself."""
    np = numpy()
    finite = np.where(np.isfinite(array), array, 0)
    apart = array.ndim > 0 and len(array) == samples and samples > 1
    if finite.size < 2 or (not apart and samples == 1 and finite.size < 4):
        return False
    spread = np.abs(finite - finite[:1]) if apart else np.abs(finite - finite.flat[0])
    return bool(spread.max() <= 8 * _EPSILON * np.abs(finite).max())
