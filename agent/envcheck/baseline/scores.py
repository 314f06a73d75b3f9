"""What an output is: exact or rounded, scores that decide, probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from envcheck.baseline.material import Prepared
from envcheck.baseline.origins import Origins
from envcheck.contract.baseline import OutputReference
from envcheck.errors import BadInput
from envcheck.smoke.arrays import numpy, type_name

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

# How far a sum of probabilities may be from 1; half precision is that coarse.
_SUM = 1e-3


def describe_output(
    name: str, output: Array, reference: Array, prepared: Prepared, origins: Origins
) -> OutputReference:
    """Describe an output by what it is in training; its floor is measured elsewhere."""
    exact = output.dtype.kind not in "fc"
    eight_bits = type_name(output) in ("int8", "uint8")
    return OutputReference(
        dtype=type_name(output),
        shape=list(output.shape),
        exact=exact,
        decides=not exact and _decides(output, name, prepared),
        probabilities=not exact and _is_probabilities(reference),
        quantised=eight_bits and origins.is_quantised(name),
    )


def decide_by(outputs: Mapping[str, OutputReference], top: int) -> dict[str, OutputReference]:
    """Return `outputs` with the set of the `top` best as decision, where there are more than so many scores.

    Raises BadInput where there are in none of them: a set of all scores decides nothing.
    """
    scores = {name: output.shape[-1] for name, output in outputs.items() if output.decides}
    if top > 1 and top >= max(scores.values(), default=0):
        held = ", ".join(f"{name} holds {number}" for name, number in scores.items())
        raise BadInput(
            f"no output decides by its top {top}: {held or 'none holds scores of classes'}",
            "--top takes a number below that of the classes",
        )
    chosen = {name for name, number in scores.items() if number > top}
    return {
        name: msgspec.structs.replace(output, top=top) if name in chosen else output
        for name, output in outputs.items()
    }


def _decides(output: Array, name: str, prepared: Prepared) -> bool:
    """Tell whether the last axis holds scores: labels fit it, or every sample gives one row of numbers."""
    if output.dtype.kind != "f" or output.ndim < 2 or output.shape[-1] < 2:
        return False
    wanted = prepared.labels.get(name, next(iter(prepared.labels.values()), None))
    given = output[: prepared.given] if len(output) == prepared.batching.samples else output
    fits = wanted is not None and wanted.dtype.kind in "iu" and given.shape[:-1] == wanted.shape
    return fits or output.ndim == 2


def _is_probabilities(reference: Array) -> bool:
    """Tell whether all rows of more than one column lie in [0, 1] and sum to 1."""
    np = numpy()
    if reference.dtype.kind != "f" or reference.ndim < 1 or reference.shape[-1] < 2 or not reference.size:
        return False
    if not ((reference >= 0) & (reference <= 1)).all():
        return False
    return bool((np.abs(reference.sum(axis=-1) - 1) <= _SUM).all())
