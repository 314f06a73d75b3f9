"""What the collector counts of itself, for Prometheus.

What happens with every request is counted in plain numbers by the one thread of the event loop: a lock for
each would cost more than the counting. What happens with every commit, or less often, the library counts.
"""

from __future__ import annotations

import platform
import threading
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from envcheck import __version__
from envcheck.contract.wire import DeviceState
from envcheck_server.store.values import NewReport, Receipt, Received

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# When each number began to be counted is nobody's question, and would double their count.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Upper bounds in seconds.
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Counting devices reads all of them: at most a hundredth of the time goes into it, and never more often.
_COUNT_EVERY_S = 15.0
_COUNT_SHARE = 100


class Timing:
    """How long the requests of one route took."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one request."""
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.seconds += seconds


class Traffic(Collector):
    """What comes over the network; only the event loop's thread may change it."""

    def __init__(self) -> None:
        self.connections = 0
        self.cut_off = 0
        self.received = 0
        self._routes: dict[tuple[str, str], Timing] = {}

    def route(self, method: str, path: str) -> Timing:
        """Return where the requests of a route are counted."""
        return self._routes.setdefault((method, path), Timing())

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield GaugeMetricFamily("envcheck_open_connections", "Connections that are open.", self.connections)
        yield CounterMetricFamily(
            "envcheck_cut_off", "Connections closed for a head too long or too slow.", self.cut_off
        )
        yield CounterMetricFamily("envcheck_received_bytes", "Bytes of bodies that were read.", self.received)
        timings = HistogramMetricFamily(
            "envcheck_request_seconds",
            "How long requests took, refused ones too.",
            labels=["method", "route"],
        )
        for labels, timing in self._routes.items():
            timings.add_metric(labels, _buckets(timing.counts), timing.seconds)
        yield timings


class DeviceCount(Collector):
    """Devices by state, counted seldom however often somebody looks."""

    def __init__(
        self, count: Callable[[], dict[DeviceState, int]], timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._timer = timer
        self._counting = threading.Lock()
        self._found: dict[DeviceState, int] = {}
        self._until = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Yield the devices of every state, as they were when they were last counted."""
        with self._counting:
            if self._timer() >= self._until:
                begun = self._timer()
                self._found = self._count()
                ended = self._timer()
                self._until = ended + max(_COUNT_EVERY_S, _COUNT_SHARE * (ended - begun))
            found = self._found
        devices = GaugeMetricFamily("envcheck_devices", "Devices by state.", labels=["state"])
        for state in get_args(DeviceState):
            devices.add_metric([state], found.get(state, 0))
        yield devices


class Metrics:
    """Everything that is counted. Each collector process has its own."""

    def __init__(self, count_devices: Callable[[], dict[DeviceState, int]]) -> None:
        self._registry = registry = CollectorRegistry()
        self.traffic = Traffic()
        registry.register(self.traffic)
        registry.register(DeviceCount(count_devices))
        ProcessCollector(registry=registry)
        build = Gauge(
            "envcheck_build_info", "What runs here; always 1.", ["version", "python"], registry=registry
        )
        build.labels(__version__, platform.python_version()).set(1)
        self._reports = Counter(
            "envcheck_reports", "Reports by what became of them.", ["receipt"], registry=registry
        )
        for receipt in get_args(Receipt):
            self._reports.labels(receipt)
        self._refused = Counter(
            "envcheck_refused", "Refused requests by reason.", ["reason"], registry=registry
        )
        self._objects = Counter("envcheck_objects", "Objects that were taken in.", registry=registry)
        self._object_bytes = Counter(
            "envcheck_object_bytes", "Bytes of objects that were taken in.", registry=registry
        )
        self._batch = Histogram(
            "envcheck_commit_reports", "Reports that shared a commit.", buckets=_BATCHES, registry=registry
        )
        self._commit = Histogram(
            "envcheck_commit_seconds",
            "How long commits of reports took.",
            buckets=_BOUNDS,
            registry=registry,
        )
        self._failed = Counter(
            "envcheck_failed_commits", "Commits of reports that failed.", registry=registry
        )
        self._waiting = Gauge("envcheck_queue_writes", "Writes that wait.", registry=registry)
        self._capacity = Gauge("envcheck_queue_capacity", "Writes that may wait.", registry=registry)

    def watch_queue(self, waiting: Callable[[], int], capacity: int) -> None:
        """Tell how many writes wait, and how many may."""
        self._waiting.set_function(waiting)
        self._capacity.set(capacity)

    def watched(
        self, receive: Callable[[Sequence[NewReport]], list[Received]]
    ) -> Callable[[Sequence[NewReport]], list[Received]]:
        """Return `receive` so that it counts commits and what became of their reports."""

        def run(batch: Sequence[NewReport]) -> list[Received]:
            begun = time.perf_counter()
            try:
                received = receive(batch)
            except BaseException:
                self._failed.inc()
                raise
            self._commit.observe(time.perf_counter() - begun)
            self._batch.observe(len(batch))
            for receipt, count in Tally(one.receipt for one in received).items():
                self._reports.labels(receipt).inc(count)
            return received

        return run

    def take_object(self, size: int) -> None:
        """Count an object of so many bytes."""
        self._objects.inc()
        self._object_bytes.inc(size)

    def refuse(self, reason: str) -> None:
        """Count a request that was refused; there are few reasons, and none is of a stranger's choice."""
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it. Blocks while devices are counted."""
        return generate_latest(self._registry)


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    names = [*(str(bound) for bound in _BOUNDS), "+Inf"]
    found: list[tuple[str, float]] = []
    total = 0
    for name, count in zip(names, counts, strict=True):
        total += count
        found.append((name, total))
    return found
