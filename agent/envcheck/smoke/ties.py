"""Indices that differ from training's: how far apart the scores are that changed places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envcheck.contract.baseline import Ties
from envcheck.smoke.arrays import HUGE, numpy, rounded, wide

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array


def tie_gap(actual: Array, reference: Array, scores: Array, ties: Ties) -> float | None:
    """Return the largest distance of scores between what stands at a place here and what stood there.

    `actual` and `reference` are indices of one shape, `scores` training's. An index out of range, or twice
    in one ranking, is as far off as can be. None when the shapes do not go together.

    With all `scores` known, every index is looked up. Of a list's own scores only those of its members are
    known: an index that is not in training's list scores no more than the list's last one, and is taken to
    score that.
    """
    ranked = _by_ranking(actual, reference, scores, ties)
    if ranked is None:
        return None
    here, there, known = ranked
    moved = (here != there).any(axis=1)
    here, there, known = here[moved], there[moved], known[moved]
    if not len(here):
        return 0.0
    if ties.listed:
        gaps = [_gaps_in_list(*rows) for rows in zip(here, there, known, strict=True)]
        return rounded(max(float(found.max()) for found in gaps))
    gaps_of_all = _distance(_look_up(known, here), _look_up(known, there))
    broken = (here < 0) | (here >= known.shape[1]) | _repeated(here)[:, None]
    return rounded(numpy().where(broken, HUGE, gaps_of_all).max())


def _by_ranking(
    actual: Array, reference: Array, scores: Array, ties: Ties
) -> tuple[Array, Array, Array] | None:
    """Bring all three to one row for each ranking."""
    np = numpy()
    scores = wide(scores)
    if ties.listed:
        if scores.size != reference.size or reference.size % ties.listed:
            return None
        row = (-1, ties.listed)
        return actual.reshape(row), reference.reshape(row), scores.reshape(row)
    if not -scores.ndim <= ties.axis < scores.ndim or not scores.size:
        return None
    known = np.moveaxis(scores, ties.axis, -1)
    rankings = scores.size // known.shape[-1]
    if reference.size % rankings:
        return None
    # What gave the indices kept the scores' axes but this one; only reshaping came behind it.
    shape = list(scores.shape)
    shape[ties.axis] = reference.size // rankings
    here, there = (np.moveaxis(array.reshape(shape), ties.axis, -1) for array in (actual, reference))
    return here.reshape(rankings, -1), there.reshape(rankings, -1), known.reshape(rankings, -1)


def _look_up(scores: Array, indices: Array) -> Array:
    np = numpy()
    inside = np.clip(indices, 0, scores.shape[1] - 1).astype(np.int64)
    found: Array = np.take_along_axis(scores, inside, axis=1)
    return found


def _gaps_in_list(here: Array, there: Array, scores: Array) -> Array:
    """Return the distance of scores between each place and that where its index stood in training's list."""
    np = numpy()
    if (here < 0).any() or _repeated(here[None])[0]:
        broken: Array = np.full(len(here), HUGE)
        return broken
    order = np.argsort(there, kind="stable")
    at = np.searchsorted(there, here, sorter=order)
    stood = order[np.minimum(at, len(there) - 1)]
    stood = np.where(there[stood] == here, stood, len(there) - 1)
    return _distance(scores, scores[stood])


def _repeated(rows: Array) -> Array:
    np = numpy()
    ordered = np.sort(rows, axis=1)
    found: Array = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    return found


def _distance(one: Array, other: Array) -> Array:
    np = numpy()
    with np.errstate(all="ignore"):
        apart = np.minimum(np.nan_to_num(np.abs(one - other), nan=HUGE, posinf=HUGE), HUGE)
    same: Array = np.where(one == other, 0.0, apart)
    return same
