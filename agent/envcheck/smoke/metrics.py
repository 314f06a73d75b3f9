"""Raw outputs beside their references: metrics, never verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from envcheck.contract.baseline import OutputReference
from envcheck.contract.canonical import digest, significant
from envcheck.contract.evidence import Decisions, OutputMetrics, OutputProblem
from envcheck.smoke.arrays import HUGE, numpy, rms, rounded, type_name, wide
from envcheck.smoke.spread import describe_values
from envcheck.smoke.ties import tie_gap

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array


def compare_outputs(
    actual: Mapping[str, Array],
    reference: Mapping[str, Array],
    expected: Mapping[str, OutputReference],
    differing: frozenset[str] = frozenset(),
) -> dict[str, OutputMetrics]:
    """Compare every output; `differing` names those whose repeated runs were not equal.

    `reference` holds float64 for outputs of floating point, else the output's own type. An output
    that is missing, or that the baseline does not know, is there with its `problem`.
    """
    found = {}
    for name, output in expected.items():
        if name in actual:
            here, there = actual[name], reference[name]
            metrics = compare_output(here, there, output, repeatable=name not in differing)
            about = {} if metrics.problem else describe_values(here, there, output)
            if output.ties is not None and not metrics.problem and output.ties.scores in reference:
                about["tie_gap"] = tie_gap(here, there, reference[output.ties.scores], output.ties)
            found[name] = msgspec.structs.replace(metrics, **about)
        else:
            detail = f"the model gives no output {name!r} here"
            found[name] = OutputMetrics(dtype=output.dtype, problem="missing", detail=detail)
    for name in actual:
        if name not in expected:
            detail = f"training had no output {name!r}"
            found[name] = _problem(actual[name], "unexpected", detail)
    return found


def compare_output(
    actual: Array, reference: Array, expected: OutputReference, *, repeatable: bool = True
) -> OutputMetrics:
    """Compare one output: type and shape before values, then NaN and infinities, then numbers."""
    raw = digest(raw_bytes(actual)) if repeatable else ""
    if type_name(actual) != expected.dtype:
        detail = f"it is {type_name(actual)} here, {expected.dtype} in training"
        return _problem(actual, "dtype", detail, raw)
    if list(actual.shape) != expected.shape or actual.shape != reference.shape:
        detail = f"its shape is {list(actual.shape)} here, {expected.shape} in training"
        return _problem(actual, "shape", detail, raw)
    numbers = _exact(actual, reference) if expected.exact else _floats(actual, reference)
    if isinstance(numbers, str):
        return _problem(actual, "non-finite", numbers, raw)
    if expected.decides:
        numbers["decisions"] = compare_decisions(actual, reference, expected.top)
    return OutputMetrics(**_about(actual), digest=raw, **numbers)


def compare_batching(
    metrics: Mapping[str, OutputMetrics], batched: Mapping[str, Array], apart: Mapping[str, Array]
) -> dict[str, OutputMetrics]:
    """Return `metrics` with how far samples run one by one (`apart`) are from the same samples in a batch.

    Only outputs with one row for each sample are compared. What can't be subtracted (text, NaN in one of
    the two) counts as 0 where it is equal and else as the largest number there is.
    """
    found = dict(metrics)
    for name, alone in apart.items():
        together = batched.get(name)
        if name not in found or together is None or not _has_rows(together, batched, alone):
            continue
        distance = _distance(alone, together[: len(alone)])
        about = {
            "batching_rms": rounded(rms(distance)),
            "batching_max": rounded(distance.max(initial=0.0)),
        }
        found[name] = msgspec.structs.replace(found[name], **about)
    return found


def compare_decisions(actual: Array, reference: Array, top: int = 1) -> Decisions | None:
    """Compare the argmax over the last axis, or the set of the `top` best; None without any choice.

    A NaN never wins, and of equals the first does. The margin of a decision is the reference's last score
    of those best minus the next one.
    """
    if actual.ndim == 0 or actual.shape[-1] <= top or actual.size == 0:
        return None
    np = numpy()
    here = _scores(actual).reshape(-1, actual.shape[-1])
    there = _scores(reference).reshape(-1, actual.shape[-1])
    flipped = np.flatnonzero((_best(here, top) != _best(there, top)).any(axis=1))
    if not len(flipped):
        return Decisions(total=len(there), top=top)
    last, behind = np.sort(there[flipped], axis=1)[:, [-top, -top - 1]].T
    with np.errstate(all="ignore"):
        margins = np.nan_to_num(last - behind, nan=0.0, posinf=HUGE)
    return Decisions(total=len(there), flipped=len(flipped), largest_margin=rounded(margins.max()), top=top)


def measure_accuracy(
    outputs: Mapping[str, Array], labels: Mapping[str, Array], expected: Mapping[str, OutputReference]
) -> float | None:
    """Return the share of labelled samples that are decided as labelled, to three digits.

    Labels named like an output belong to it; otherwise the first labels belong to the first output
    that decides (its argmax is compared) or that holds labels itself. None when nothing fits.
    """
    np = numpy()
    for name, output in expected.items():
        if name not in outputs or not labels:
            continue
        wanted = labels.get(name, next(iter(labels.values())))
        actual = outputs[name]
        if output.decides and actual.ndim > 0 and actual.shape[:-1] == wanted.shape:
            decided = _scores(actual).argmax(axis=-1)
            # What a map calls its entries is what labels call them.
            keys = outputs.get(f"{name}.keys")
            decided = decided if keys is None else keys[decided]
        elif output.exact and actual.shape == wanted.shape:
            decided = actual
        else:
            continue
        return significant(float(np.mean(decided == wanted))) if wanted.size else None
    return None


def raw_bytes(array: Array) -> bytes:
    """Return the bytes that an output's digest is over: little-endian, row by row; strings in UTF-8."""
    if array.dtype.kind == "U":
        return "\0".join(array.ravel().tolist()).encode("utf-8")
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def _about(actual: Array) -> dict[str, Any]:
    return {"dtype": type_name(actual), "shape": list(actual.shape), "elements": int(actual.size)}


def _problem(actual: Array, problem: OutputProblem, detail: str, raw: str = "") -> OutputMetrics:
    return OutputMetrics(**_about(actual), problem=problem, detail=detail, digest=raw)


def _has_rows(together: Array, batched: Mapping[str, Array], alone: Array) -> bool:
    """Whether the first axis holds samples: as long for all at once as in any output, one by one as many."""
    rows = max((len(array) for array in batched.values() if array.ndim), default=0)
    return (
        together.ndim > 0
        and alone.dtype == together.dtype
        and alone.shape[1:] == together.shape[1:]
        and 0 < len(alone) <= len(together) == rows
    )


def _distance(one: Array, other: Array) -> Array:
    np = numpy()
    if one.dtype.kind in "fc":
        here, there = wide(one), wide(other)
        finite = np.isfinite(here) & np.isfinite(there)
        same = (here == there) | (np.isnan(here) & np.isnan(there))
        with np.errstate(over="ignore", invalid="ignore"):
            apart: Array = np.where(finite, np.minimum(np.abs(here - there), HUGE), np.where(same, 0.0, HUGE))
        return apart
    if one.dtype.kind in "iu":
        return np.abs(wide(one) - wide(other))  # type: ignore[no-any-return]
    return np.where(one == other, 0.0, HUGE)  # type: ignore[no-any-return]


def _exact(actual: Array, reference: Array) -> dict[str, Any]:
    np = numpy()
    differing = int(np.count_nonzero(actual != reference))
    if actual.dtype.kind not in "iu":
        return {"differing": differing}
    distance = np.abs(actual.astype(np.float64) - reference.astype(np.float64))
    found = {"differing": differing, "max_abs": rounded(distance.max(initial=0.0))}
    if actual.dtype.itemsize == 1:
        found["within_quantum"] = _share(int(np.count_nonzero(distance <= 1)), actual.size)
    return found


def _share(part: int, whole: int) -> float:
    """A share that is 1 only when it is: three digits would make 1 of 0.9999."""
    return 1.0 if part == whole else min(rounded(part / whole), 0.999)


def _floats(actual: Array, reference: Array) -> dict[str, Any] | str:
    """Return the metrics of a float output, or what is wrong with its NaN and infinities."""
    np = numpy()
    here, there = wide(actual), wide(reference)
    trouble = _non_finite(here, there)
    if trouble:
        return trouble
    finite = np.isfinite(there)
    here, there = here[finite], there[finite]
    with np.errstate(over="ignore"):
        distance = np.minimum(np.abs(here - there), HUGE)
    return {
        "rmse": rounded(rms(distance)),
        "max_abs": rounded(distance.max(initial=0.0)),
        "cosine": _cosine(here, there),
    }


def _non_finite(here: Array, there: Array) -> str:
    np = numpy()
    kinds = {"NaN": np.isnan, "+infinity": np.isposinf, "-infinity": np.isneginf}
    for name, test in kinds.items():
        mine, theirs = test(here), test(there)
        if not np.array_equal(mine, theirs):
            return (
                f"{int(mine.sum())} of {here.size} elements are {name} here, {int(theirs.sum())} in training"
                + (", in other places" if mine.sum() == theirs.sum() else "")
            )
    return ""


def _cosine(here: Array, there: Array) -> float | None:
    """Cosine of the angle between the two; None when one of them is zero throughout."""
    np = numpy()
    sizes = [float(np.max(np.abs(values), initial=0.0)) for values in (here, there)]
    if 0.0 in sizes:
        return None
    here, there = (here / sizes[0]).ravel(), (there / sizes[1]).ravel()
    cosine = float(here @ there / np.sqrt((here @ here) * (there @ there)))
    return significant(min(1.0, max(-1.0, cosine)))


def _best(scores: Array, top: int) -> Array:
    """Return the places of the `top` best of each row, in order of place."""
    np = numpy()
    if top == 1:
        best: Array = scores.argmax(axis=1)[:, None]
    else:
        best = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :top], axis=1)
    return best


def _scores(array: Array) -> Array:
    np = numpy()
    scores = array.astype(np.float64)
    scores[np.isnan(scores)] = -np.inf
    return scores
