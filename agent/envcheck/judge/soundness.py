"""Evidence that can't be: numbers outside of what any run gives. It is unknown, whatever else it says."""

from __future__ import annotations

import math
from collections.abc import Iterator

from envcheck.contract.evidence import Decisions, Evidence, OutputMetrics
from envcheck.contract.verdict import Finding
from envcheck.judge.findings import undetermined

# Both errors are rounded to three digits by themselves, so the mean may seem larger than the largest.
_ROUNDING = 1.01


def contradictions(evidence: Evidence) -> Iterator[Finding]:
    """Find where evidence that ended well contradicts itself."""
    for what in (*_whole(evidence), *_outputs(evidence)):
        yield undetermined(
            "evidence", f"the evidence contradicts itself: {what}", "measure again: envcheck report --fresh"
        )


def _whole(evidence: Evidence) -> Iterator[str]:
    if evidence.ending.stage != "done":
        yield f"it ended well, but at the stage {evidence.ending.stage[:40]!r}"
    if evidence.accuracy is not None and not 0 <= evidence.accuracy <= 1:
        yield f"an accuracy of {evidence.accuracy:g}"
    for provider, operators in sorted(evidence.placement.nodes.items()):
        if min(operators.values(), default=1) < 1:
            yield f"operators of which no node ran on {provider}"


def _outputs(evidence: Evidence) -> Iterator[str]:
    for name, metrics in sorted(evidence.outputs.items()):
        if not metrics.problem:
            found = (*_errors(metrics), *_described(metrics), *_counts(metrics))
            yield from (f"output {name} has {what}" for what in found)


def _errors(metrics: OutputMetrics) -> Iterator[str]:
    errors = {
        "an RMSE": metrics.rmse,
        "a largest error": metrics.max_abs,
        "a deviation": metrics.deviation,
        "an error of its sums": metrics.sum_error,
        "an RMSE of batches": metrics.batching_rms,
        "a largest error of batches": metrics.batching_max,
        "a distance of scores": metrics.tie_gap,
    }
    for title, error in errors.items():
        if error is not None and not 0 <= error < math.inf:
            yield f"{title} of {error:g}"
    if (
        metrics.rmse is not None
        and metrics.max_abs is not None
        and metrics.rmse > metrics.max_abs * _ROUNDING
    ):
        yield f"an RMSE of {metrics.rmse:g}, above its largest error of {metrics.max_abs:g}"


def _described(metrics: OutputMetrics) -> Iterator[str]:
    """Lowest, mean and highest are in that order, but for the rounding of each."""
    low, mean, high = metrics.low, metrics.mean, metrics.high
    if low is None or high is None:
        return
    if not -math.inf < low <= high < math.inf:
        yield f"values from {low:g} to {high:g}"
    elif mean is not None:
        slack = (_ROUNDING - 1) * max(abs(low), abs(high))
        if not low - slack <= mean <= high + slack:
            yield f"a mean of {mean:g}, outside of {low:g} to {high:g}"


def _counts(metrics: OutputMetrics) -> Iterator[str]:
    elements = math.prod(metrics.shape)
    if min(metrics.shape, default=0) < 0 or metrics.elements != elements:
        yield f"{metrics.elements} elements in the shape {metrics.shape}"
    elif metrics.differing is not None and not 0 <= metrics.differing <= elements:
        yield f"{metrics.differing} differing elements of {elements}"
    elif metrics.within_quantum is not None and not _is_share_of(metrics):
        yield f"a share of {metrics.within_quantum:g} within one quantum, beside its other numbers"
    elif metrics.decisions is not None:
        yield from _decisions(metrics.decisions, metrics.shape)


def _is_share_of(metrics: OutputMetrics) -> bool:
    """Tell whether the share within one quantum, the largest error and the differing elements go together."""
    share, largest, differing = metrics.within_quantum or 0.0, metrics.max_abs, metrics.differing
    if largest is None or differing is None:
        return False
    return 0 <= share <= 1 and (share == 1) == (largest <= 1) and (largest == 0) == (differing == 0)


def _decisions(decisions: Decisions, shape: list[int]) -> Iterator[str]:
    wanted = math.prod(shape[:-1])
    if decisions.total != wanted:
        yield f"{decisions.total} decisions in the shape {shape}"
    elif not 0 <= decisions.flipped <= decisions.total or not decisions.largest_margin >= 0:
        yield f"{decisions.flipped} of {decisions.total} decisions flipped, by {decisions.largest_margin:g}"
