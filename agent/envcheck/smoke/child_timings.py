"""How the smoke child takes time: warm-up until runs agree, then latencies.

Lies beside child.py and is loaded by it: standard library only, Python 3.8+.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List


def take_latencies(run: Callable[[], Any], timing: Dict[str, Any]) -> List[float]:
    """Return the latency of each run in milliseconds; see `job.Timing` for how many."""
    taken: List[float] = []
    begin = time.perf_counter()
    while len(taken) < timing["runs_max"]:
        elapsed = time.perf_counter() - begin
        enough = len(taken) >= timing["runs"] and elapsed >= timing["seconds"]
        if enough or (taken and elapsed >= timing["seconds_max"]):
            break
        taken.append(clock(run))
    return taken


def warm_up(run: Callable[[], Any], timing: Dict[str, Any]) -> None:
    """Run until two successive runs agree within 5%, within the bounds of `timing`."""
    begin = time.perf_counter()
    previous = clock(run)
    for count in range(1, timing["warmup_max"]):
        if time.perf_counter() - begin > timing["warmup_s"]:
            return
        latest = clock(run)
        if count + 1 >= timing["warmup"] and abs(latest - previous) <= 0.05 * previous:
            return
        previous = latest


def clock(run: Callable[[], Any]) -> float:
    """Return how long one run takes, in milliseconds."""
    begin = time.perf_counter()
    run()
    return milliseconds(begin)


def milliseconds(begin: float) -> float:
    """Return the time since `begin` in milliseconds."""
    return (time.perf_counter() - begin) * 1000.0
