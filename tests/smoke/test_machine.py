"""What the kernel says about this process's share of the machine, read from small captured trees."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.smoke.cgroups import usable_cpus
from envcheck.smoke.counters import Counters, read_counters, rose, throttled_between
from envcheck.smoke.timings import summarise, throughput

HERE = len(os.sched_getaffinity(0))
UNIFIED = {
    "proc/self/cgroup": "0::/app.slice\n",
    "sys/fs/cgroup/app.slice/cpu.max": "50000 100000\n",
    "sys/fs/cgroup/app.slice/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 3\n",
    "sys/fs/cgroup/app.slice/memory.events": "low 0\noom 2\noom_kill 1\n",
}
DIVIDED = {
    "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/a\n1:name=systemd:/a\n",
    "sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    "sys/fs/cgroup/cpu,cpuacct/a/cpu.stat": "nr_periods 1\nnr_throttled 7\n",
    "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
}
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("files", "counters"),
    [
        (UNIFIED, Counters(oom_kills=1, starved=3)),
        (DIVIDED, Counters(oom_kills=4, starved=7)),
        ({"proc/vmstat": "nr_free_pages 1\noom_kill 6\n"}, Counters(oom_kills=6)),
        (
            {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n"},
            Counters(throttled=2),
        ),
        (
            {
                "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
                "sys/class/hwmon/hwmon3/oc1_event_cnt": "4\n",
                "sys/class/hwmon/hwmon3/oc3_event_cnt": "1\n",
                "sys/class/hwmon/hwmon4/name": "ina3221\n",
                "sys/class/hwmon/hwmon4/oc1_event_cnt": "7\n",
            },
            Counters(throttled=5),
        ),
        ({PI: "0x50005\n"}, Counters(pi_bits=0x50005)),
        ({PI: "what is this\n"}, Counters()),
        ({}, Counters()),
    ],
)
def test_counters_are_read_where_the_machine_has_them(
    tmp_path: Path, files: Mapping[str, str], counters: Counters
) -> None:
    assert read_counters(tree(tmp_path, files)) == counters


def test_in_a_container_the_group_is_mounted_at_the_top(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/far/away\n", "sys/fs/cgroup/memory.events": "oom_kill 2\n"}
    assert read_counters(tree(tmp_path, files)).oom_kills == 2


def test_this_machine_can_be_read() -> None:
    assert rose(read_counters().oom_kills, read_counters().oom_kills) in (False, None)


def test_a_counter_that_was_not_read_both_times_says_nothing() -> None:
    assert [rose(1, 2), rose(1, 1), rose(None, 2), rose(1, None)] == [True, False, None, None]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Counters(), Counters(), None),
        (Counters(starved=1), Counters(starved=9), None),
        (Counters(throttled=1), Counters(throttled=1), False),
        (Counters(throttled=1), Counters(throttled=2), True),
        # Before the run long ago, and no more since.
        (Counters(pi_bits=0x50000), Counters(pi_bits=0x50000), False),
        (Counters(pi_bits=0x50000), Counters(pi_bits=0x50004), True),
        (Counters(pi_bits=0x1), Counters(pi_bits=0x0), True),
        # In between, and over again.
        (Counters(pi_bits=0x10000), Counters(pi_bits=0x50000), True),
        (Counters(throttled=1, pi_bits=0), Counters(throttled=2, pi_bits=0), True),
    ],
)
def test_slowing_by_heat_or_power_is_told_apart_from_a_quota(
    before: Counters, after: Counters, said: bool | None
) -> None:
    assert throttled_between(before, after) is said


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        (UNIFIED, 1),
        (DIVIDED, 1),
        ({**UNIFIED, "sys/fs/cgroup/app.slice/cpu.max": "max 100000\n"}, HERE),
        ({**UNIFIED, "sys/fs/cgroup/app.slice/cpu.max": "9900000 100000\n"}, HERE),
        ({**UNIFIED, "sys/fs/cgroup/app.slice/cpu.max": "what is this\n"}, HERE),
        ({}, HERE),
    ],
)
def test_a_quota_bounds_the_threads(tmp_path: Path, files: Mapping[str, str], cpus: int) -> None:
    assert usable_cpus(tree(tmp_path, files)) == cpus


@given(st.lists(st.floats(min_value=1e-3, max_value=1e5), min_size=64, max_size=200))
def test_latencies_are_summed_up_in_order(latencies: list[float]) -> None:
    found = summarise(latencies)
    assert found is not None
    assert found.p90_ms is not None
    assert found.runs == len(latencies)
    assert found.min_ms <= found.p50_ms <= found.p90_ms <= max(latencies) + 1e-3
    assert sum(value <= found.p90_ms + 1e-3 for value in latencies) >= 0.9 * len(latencies)


@given(st.lists(st.floats(min_value=1e-3, max_value=1e5), min_size=1, max_size=63))
def test_too_few_runs_give_no_percentiles(latencies: list[float]) -> None:
    found = summarise(latencies)
    assert found is not None
    assert (found.p90_ms, found.mad_ms) == (None, None)


@pytest.mark.parametrize(("runs", "p99"), [(661, None), (662, 656.0), (1000, 990.0)])
def test_the_99th_percentile_needs_662_runs(runs: int, p99: float | None) -> None:
    found = summarise([float(number) for number in range(runs, 0, -1)])
    assert found is not None
    assert found.p99_ms == p99


def test_no_runs_give_no_latency() -> None:
    assert summarise([]) is None
    assert throughput([], 16) is None


def test_throughput_is_samples_a_second_over_all_runs() -> None:
    assert throughput([10, 30], 16) == 800
