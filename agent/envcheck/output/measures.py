"""Numbers beside what they were held to, one line an output: also when all is well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envcheck.contract.figures import figure
from envcheck.contract.verdict import Measure, MeasureState

_WORST: tuple[MeasureState, ...] = ("fail", "unknown", "drift", "pass")
_NAMES = {
    "rmse": "RMSE",
    "max_abs": "largest error",
    "differing": "elements that differ",
    "tie_gap": "scores that changed places differ by",
    "flipped_margin": "largest flipped margin",
    "sum_error": "sums off by",
    "batching_rms": "RMSE alone and in a batch",
    "batching_max": "largest error alone and in a batch",
}
_MOST = 8


def measure_lines(measures: Sequence[Measure]) -> Iterator[tuple[str, str, str]]:
    """Yield state, subject and numbers for each output, the worst outputs first, a bounded number of them."""
    by_output: dict[str, list[Measure]] = {}
    for one in measures:
        if one.output:
            by_output.setdefault(one.output, []).append(one)
    ranked = sorted(by_output.items(), key=lambda item: (_rank(item[1]), item[0]))
    for name, told in ranked[:_MOST]:
        yield _WORST[_rank(told)], name, ", ".join(_phrase(one) for one in told if _tells(one))
    if len(ranked) > _MOST:
        yield "", "", f"and {len(ranked) - _MOST} other outputs (--json has them all)"


def _rank(measures: Sequence[Measure]) -> int:
    """The worst state; what was not measured counts where nothing else was."""
    known = [one for one in measures if one.value is not None] or measures
    return min(_WORST.index(one.state) for one in known)


def _tells(one: Measure) -> bool:
    """That nothing was flipped, or that a quick run left something out, is told elsewhere."""
    return one.value is not None and not (one.metric == "flipped_margin" and one.value == 0)


def _phrase(one: Measure) -> str:
    value = "not measured" if one.value is None else figure(one.value)
    allowed = "" if one.tolerance is None else f" ({figure(one.tolerance)} allowed)"
    return f"{_NAMES.get(one.metric, one.metric)} {value}{allowed}"
