"""The lab's report in Markdown: confusion matrix, other tools' tolerances, calibration, what ran on what."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from case import FLOATS, QUANTISED, SATURABLE, SATURATING
from draws import DRAWS, Drawn
from environments import TRAINING, Environment, broken, fleet
from judged import Judged, available
from measure import TOLERANCES

Key = TypeVar("Key")
_CAUSES = ("named", "open", "silent", "wrong")
_TOLERANCES_TEXT = (
    "Cells whose outputs came out, and how many of them each refuses. A refused healthy cell is a false "
    "alarm, a fault that is not refused is missed. Polygraphy: 1e-5 relative and 1e-5 absolute, an element "
    "must exceed both; ONNX's backend tests: 1e-3 and 1e-7; onnxruntime's: 1e-3 and 1e-3."
)
_FLOORS = "RMSE / floor and largest error / floor, the worse output. Worst healthy cell: {}."
_SHARES = "RMSE and largest error as shares of the quantisation error"
_HEAD = Path(__file__).with_name("report-head.md")
_TAIL = Path(__file__).with_name("report-tail.md")


def markdown(judged: Sequence[Judged], agent: str, drawn: Sequence[Drawn]) -> str:
    """Return the whole report. `agent` tells the sources that were tested."""
    ran = available(judged)
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    parts = [
        [
            _HEAD.read_text().rstrip().replace("{training}", TRAINING),
            "",
            f"Made {made} on {_machine()}; agent sources {agent}.",
            "",
        ],
        ["## Outcome", "", *_outcome(ran), ""],
        ["## Confusion matrix", "", *_matrix(ran), ""],
        ["## The usual tolerances on the same cells", "", *_tolerances(ran), ""],
        ["## Calibration: float models", "", *_float_floors(ran), ""],
        ["### How surely it is found", "", *_draws(drawn), ""],
        ["## Calibration: quantised models", "", *_quantised(ran), ""],
        ["## A CPU that saturates", "", *_saturation(ran), ""],
        ["## What was planted", "", *_planted(judged), ""],
        ["## Environments", "", *_environments(judged), ""],
        [_TAIL.read_text().rstrip()],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def summary(judged: Sequence[Judged]) -> list[str]:
    """Return the figures, and every cell that is not right."""
    ran = available(judged)
    wrong = [_sentence(one) for one in ran if not one.right]
    missing = sorted({one.outcome.environment for one in judged if one.outcome.unavailable})
    return [*wrong, *_outcome(ran), *([f"not available: {', '.join(missing)}"] if missing else [])]


def _sentence(one: Judged) -> str:
    outcome = one.outcome
    where = f"{outcome.case} | {outcome.variant} | {outcome.environment}"
    kind = "BLOCKED" if one.healthy else "MISSED "
    told = "; ".join(finding["message"] for finding in outcome.telling) or outcome.stderr[-200:]
    return f"{kind} {where}: {outcome.verdict or outcome.exit_code}: {told}"


def _outcome(ran: Sequence[Judged]) -> list[str]:
    healthy = [one for one in ran if one.healthy]
    planted = [one for one in ran if not one.healthy and one.outcome.truth != "below"]
    below = [one for one in ran if one.outcome.truth == "below"]
    return [
        f"- healthy cells: {len(healthy)}, blocked: {sum(not one.right for one in healthy)}",
        f"- planted faults: {len(planted)}, found: {sum(one.found for one in planted)}",
        f"- the cause named in: {sum(one.found and one.cause == 'named' for one in planted)}",
        f"- perturbations below the noise floor: {len(below)}, found: {sum(one.found for one in below)}",
    ]


def _matrix(ran: Sequence[Judged]) -> Iterator[str]:
    yield from _table_head("planted", "cells", "pass", "fail", "unknown", "**found**", *_CAUSES)
    for (name, truth), group in _grouped(ran, lambda one: (one.outcome.case, one.outcome.truth)):
        verdicts = [one.outcome.verdict for one in group]
        causes = [one.cause for one in group if one.found]
        yield _row(
            name if truth != "below" else f"{name} (below the floor)",
            len(group),
            verdicts.count("pass") + verdicts.count("made"),
            verdicts.count("fail") + verdicts.count("refused") + verdicts.count("warned"),
            verdicts.count("unknown"),
            "" if truth == "healthy" else f"**{sum(one.found for one in group)}**",
            *(causes.count(kind) if truth != "healthy" else "" for kind in _CAUSES),
        )


def _tolerances(ran: Sequence[Judged]) -> Iterator[str]:
    shown = [one for one in ran if one.outcome.numbers]
    yield from _table_head("planted", "models", "cells", "envcheck", *TOLERANCES)
    for (name, kind), group in _grouped(shown, lambda one: (one.outcome.case, _kind(one))):
        refused = [sum(one.refused_by(tolerance) for one in group) for tolerance in TOLERANCES]
        yield _row(name, kind, len(group), sum(one.outcome.verdict == "fail" for one in group), *refused)
    yield from ("", _TOLERANCES_TEXT)


def _kind(one: Judged) -> str:
    return "float" if one.outcome.variant in FLOATS else "quantised"


def _float_floors(ran: Sequence[Judged]) -> Iterator[str]:
    healthy = [one for one in ran if one.healthy]
    yield from _floors_table(healthy, FLOATS, _pair)
    worst = _worst([one for one in healthy if one.outcome.variant in FLOATS])
    yield from (
        "",
        f"RMSE / floor and largest error / floor, the worse output. Worst healthy cell: {worst}.",
        "",
    )
    yield from _table_head("weights moved by", *FLOATS)
    moved = [one for one in ran if one.outcome.case.startswith("weights") and one.outcome.numbers]
    for name, group in _grouped(moved, lambda one: one.outcome.case):
        yield _row(name, *(_span([one for one in group if one.outcome.variant == name]) for name in FLOATS))
    yield from ("", "RMSE / floor over all environments, from the least to the greatest, the worse output.")


def _draws(drawn: Sequence[Drawn]) -> Iterator[str]:
    yield from _table_head(
        "weights moved by", "model", f"found, of {DRAWS}", "error / allowed: least, median, most"
    )
    for one in drawn:
        excess = one.excess
        shown = ", ".join(f"{value:.2f}" for value in (excess[0], excess[len(excess) // 2], excess[-1]))
        yield _row(f"x (1 + {one.share:.0e} N)", one.variant, sum(value > 1 for value in excess), shown)
    yield from (
        "",
        "Draws of N by other seeds, run on this machine alone and held to the default policy's limits.",
    )


def _span(group: Sequence[Judged]) -> str:
    values = [max(one.numbers("rmse_floors")) for one in group if one.numbers("rmse_floors")]
    return f"{min(values):.3g} to {max(values):.3g}" if values else ""


def _worst(group: Sequence[Judged]) -> str:
    rms = max((value for one in group for value in one.numbers("rmse_floors")), default=0.0)
    largest = max((value for one in group for value in one.numbers("max_floors")), default=0.0)
    return f"RMSE {rms:.2f}, largest error {largest:.2f}"


def _pair(one: Judged) -> str:
    rms, largest = one.numbers("rmse_floors"), one.numbers("max_floors")
    return f"{max(rms):.2f} / {max(largest):.2f}" if rms else "no output"


def _quantised(ran: Sequence[Judged]) -> Iterator[str]:
    healthy = [one for one in ran if one.healthy]
    yield from _floors_table(healthy, QUANTISED, _pair)
    worst = _worst([one for one in healthy if one.outcome.variant in QUANTISED])
    yield from (
        "",
        f"{_SHARES}. Worst healthy cell: {worst}.",
    )


def _floors_table(
    healthy: Sequence[Judged], variants: Sequence[str], show: Callable[[Judged], str]
) -> Iterator[str]:
    yield from _table_head("environment", *variants)
    for name, group in _grouped(healthy, _place):
        cells = {one.outcome.variant: show(one) for one in group}
        if set(cells) & set(variants):
            yield _row(name, *(cells.get(variant, "") for variant in variants))


def _place(one: Judged) -> str:
    return one.outcome.environment + one.outcome.what.removeprefix("nothing")


def _saturation(ran: Sequence[Judged]) -> Iterator[str]:
    yield from _table_head("environment", *SATURABLE)
    saturating = [one for one in ran if one.outcome.case == "saturating CPU"]
    for name, group in _grouped(saturating, lambda one: one.outcome.environment):
        cells = {one.outcome.variant: f"{_pair(one)} {one.outcome.verdict}" for one in group}
        yield _row(name, *(cells.get(variant, "") for variant in SATURABLE))
    yield from (
        "",
        f"{_SHARES}. {', '.join(SATURATING)} have AVX2 and no VNNI.",
    )


def _planted(judged: Sequence[Judged]) -> Iterator[str]:
    yield from _table_head("case", "how", "models", "environments")
    for (name, how), group in _grouped(judged, lambda one: (one.outcome.case, one.outcome.what)):
        if not group[0].healthy:
            models = dict.fromkeys(one.outcome.variant for one in group)
            places = dict.fromkeys(one.outcome.environment for one in group)
            yield _row(name, how, ", ".join(models), ", ".join(places))


def _environments(judged: Sequence[Judged]) -> Iterator[str]:
    yield from _table_head("name", "Python", "installed", "CPU", "", "seconds a cell")
    for environment in (*fleet(), *broken()):
        own = [one for one in judged if one.outcome.environment == environment.name]
        if own:
            yield _environment_row(environment, own)


def _environment_row(environment: Environment, own: Sequence[Judged]) -> str:
    missing = own[0].outcome.unavailable
    times = sorted(one.outcome.wall_s for one in own)
    cpu = f"qemu {environment.cpu or 'max'}" if environment.emulated else "the machine's"
    about = f"not here: {missing}" if missing else environment.about
    return _row(
        environment.name,
        environment.python,
        ", ".join(environment.requirements),
        cpu,
        about,
        "" if missing else f"{times[len(times) // 2]:.1f}",
    )


def _machine() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(names) or '?'} processors"


def _grouped(items: Sequence[Judged], key: Callable[[Judged], Key]) -> list[tuple[Key, list[Judged]]]:
    groups: dict[Key, list[Judged]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def _table_head(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield "|" + "---|" * len(titles)


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
