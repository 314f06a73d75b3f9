from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import memory
from envcheck.facts.auxv import make_auxv
from envcheck.facts.cgroup import cpu_quota, memory_limit, parse_cpu_max, parse_groups, throttled_periods
from envcheck.facts.host import Host
from envcheck.facts.memory import parse_limits, parse_meminfo, rounded_mib
from envcheck.facts.section import Scene, Unavailable

V2 = "0::/user.slice/app.service\n"
V1 = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n"
GROUP = "sys/fs/cgroup/user.slice/app.service"


def test_equal_machines_tell_equal_sizes_whatever_the_kernel_reserved() -> None:
    assert rounded_mib(3_884_360 * 1024) == rounded_mib(3_884_292 * 1024) == 3808


def test_meminfo() -> None:
    sizes = parse_meminfo("MemTotal:  1024 kB\nHugePages_Total:  0\nBroken: x kB\nNegative: -5 kB\n")
    assert sizes == {"MemTotal": 1024 * 1024, "HugePages_Total": 0}


def test_without_a_size_the_section_is_absent(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    with pytest.raises(Unavailable) as caught:
        memory.gather(scene(tree({"proc/meminfo": "hello"})))
    assert caught.value.status == "absent"


def test_a_file_that_may_not_be_read_is_no_absence(
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
    scene: Callable[..., Scene],
) -> None:
    root = open_folder / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 1024 kB\n")
    (root / "proc/meminfo").chmod(0)
    with unprivileged(), pytest.raises(Unavailable) as caught:
        memory.gather(scene(Host(root=root)))
    assert caught.value.status == "unreadable"


def test_limits_of_version_2_are_the_tightest_of_all_groups_above(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    host = tree(
        {
            "proc/self/cgroup": V2,
            f"{GROUP}/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/memory.max": "1073741824\n",
            f"{GROUP}/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
        }
    )
    assert memory_limit(scene(host)) == 1 << 30
    assert cpu_quota(scene(host)) == 1.5


def test_limits_of_version_1(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    host = tree(
        {
            "proc/self/cgroup": V1,
            # In a container the group's own folder is mounted as the root.
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
    )
    assert memory_limit(scene(host)) == 512 << 20
    assert cpu_quota(scene(host)) == 0.5


def test_no_limit_is_none(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    unlimited = tree(
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
    )
    assert memory_limit(scene(unlimited)) is None
    assert cpu_quota(scene(unlimited)) is None


@given(st.text(max_size=100) | st.text("0:/.,cpu\n", max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert all(path.startswith("/") and "/../" not in path for path in parse_groups(text).values())
    quota = parse_cpu_max(text)
    assert quota is None or quota >= 0
    assert all(size >= 0 for size in parse_meminfo(text).values())
    assert all(size >= 0 for size in parse_limits("Max stack size " + text).values())


LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max locked memory         65536                65536                bytes
Max address space         unlimited            unlimited            bytes
"""


def test_the_processes_own_limits() -> None:
    assert parse_limits(LIMITS) == {"stack": 8388608, "memlock": 65536}


def test_compressed_swap_pages_and_policies(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    found = memory.gather(
        scene(
            tree(
                {
                    "proc/meminfo": "MemTotal: 4194304 kB\nSwapTotal: 2097152 kB\n",
                    "proc/swaps": "Filename Type\n/dev/zram0 partition 2097148 0 100\n",
                    "sys/block/zram0/disksize": "2147483648\n",
                    "sys/block/mmcblk0/size": "1\n",
                    "sys/module/zswap/parameters/enabled": "N\n",
                    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
                    "proc/sys/vm/overcommit_memory": "1\n",
                    "proc/thread-self/auxv": make_auxv({6: 16384}),
                    "proc/self/limits": LIMITS,
                }
            )
        )
    )
    assert found.shared == {
        "total_mib": 4096,
        "swap_mib": 2048,
        "zram": True,
        "zram_mib": 2048,
        "zswap": False,
        "page_bytes": 16384,
        "huge_pages": "madvise",
        "overcommit": 1,
    }
    assert found.device["limits"] == {"stack": 8388608, "memlock": 65536}


def test_the_running_process_has_the_limits_that_the_kernel_tells(scene: Callable[..., Scene]) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert memory.gather(scene(Host())).device["limits"]["nofile"] == soft


def test_throttled_periods_of_both_versions(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    stat = "nr_periods 100\nnr_throttled 7\nthrottled_usec 12\n"
    assert throttled_periods(scene(tree({"proc/self/cgroup": V2, f"{GROUP}/cpu.stat": stat}))) == 7
    one = tree({"proc/self/cgroup": V1, "sys/fs/cgroup/cpu/docker/abc/cpu.stat": stat})
    assert throttled_periods(scene(one)) == 7
    assert throttled_periods(scene(tree({"proc/self/cgroup": ""}))) is None
