from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import cpu
from envcheck.facts.auxv import make_auxv
from envcheck.facts.cpu_identity import parse_blocks, parse_cpuinfo
from envcheck.facts.cpu_sysfs import parse_size, short_list
from envcheck.facts.host import Host
from envcheck.facts.isa import arm_isa, arm_level, x86_isa, x86_level
from envcheck.facts.section import Scene, Unavailable, cpu_list, integer

V2 = "lm sse sse2 cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = V2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("lm sse sse2", "x86-64-v1"),
        (V2, "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V4, "x86-64-v4"),
        (V4.replace("avx2", ""), "x86-64-v2"),
        (V3.replace("movbe", ""), "x86-64-v2"),
        ("sse sse2", ""),
    ],
)
def test_x86_levels_build_on_each_other(flags: str, level: str) -> None:
    assert x86_level(x86_isa(flags.split())) == level


def test_x86_names_are_everybodys() -> None:
    isa = x86_isa(["pni", "abm", "lahf_lm", "avx512_vnni", "avx_vnni", "fpu", "vme", "ibpb"])
    assert isa == ["avx512_vnni", "avx_vnni", "lahf", "lzcnt", "sse3"]


@pytest.mark.parametrize(
    ("features", "level"),
    [
        ("fp asimd evtstrm crc32 cpuid", "armv8.0"),
        ("fp asimd atomics asimdrdm crc32", "armv8.1"),
        ("fp asimd atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp", "armv8.2"),
        (
            "fp asimd atomics asimdrdm dcpop jscvt fcma lrcpc dit uscat asimddp sb frint i8mm bf16 sve2",
            "armv9.0",
        ),
        ("half thumb fastmult vfp edsp neon vfpv3", ""),
    ],
)
def test_arm_levels(features: str, level: str) -> None:
    isa = arm_isa(features.split())
    assert "evtstrm" not in isa
    assert arm_level(isa) == level


def arm(part: str, count: int, features: str = "fp asimd") -> str:
    block = f"processor : 0\nFeatures : {features}\nCPU implementer : 0x41\nCPU part : {part}\n\n"
    return block * count


def test_big_little_has_what_every_core_has() -> None:
    identity = parse_cpuinfo(arm("0xd05", 4, "fp asimd") + arm("0xd0b", 2, "fp asimd atomics"))
    assert identity is not None
    assert identity.isa == ["asimd", "fp"]
    assert [(kind.name, kind.count) for kind in identity.kinds] == [("Cortex-A55", 4), ("Cortex-A76", 2)]
    assert identity.model == "Cortex-A55 + Cortex-A76"


def test_hybrid_x86_has_what_every_core_has() -> None:
    cores = "processor : 0\nflags : lm sse sse2 avx2\ncore id : 0\nphysical id : 0\n\n"
    identity = parse_cpuinfo(cores + cores.replace(" avx2", "").replace("core id : 0", "core id : 4"))
    assert identity is not None
    assert "avx2" not in identity.isa
    assert (identity.cores, identity.sockets, identity.threads) == (2, 1, 2)


def test_an_old_arm_kernel_tells_features_once_for_all() -> None:
    text = (
        "Processor : ARMv7 Processor rev 5\nprocessor : 0\nBogoMIPS : 38\n\nprocessor : 1\nBogoMIPS : 38\n\n"
        "Features : half thumb vfp neon\nCPU implementer : 0x41\nCPU part : 0xc07\n"
    )
    blocks, common = parse_blocks(text)
    assert len(blocks) == 2
    assert common["CPU part"] == "0xc07"
    identity = parse_cpuinfo(text)
    assert identity is not None
    assert (identity.architecture, identity.model, identity.threads) == ("arm", "Cortex-A7", 2)


def test_nothing_that_describes_a_processor_is_absence(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    with pytest.raises(Unavailable) as caught:
        cpu.gather(scene(tree({"proc/cpuinfo": "hello"})))
    assert caught.value.status == "absent"


@pytest.mark.parametrize(
    ("text", "size"), [("32K", 32768), ("1M", 1 << 20), ("512", 512), ("K", None), ("", None)]
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,8\n", [0, 1, 2, 3, 8]), ("", []), ("3-1", []), ("0-99999999999", []), ("x,2", [2])],
)
def test_lists_of_cpus(text: str, numbers: list[int]) -> None:
    assert cpu_list(text) == numbers


@given(st.text(max_size=300) | st.text("processor:\n\t 0flagsFeatures", max_size=300))
def test_any_text_is_read(text: str) -> None:
    identity = parse_cpuinfo(text)
    assert identity is None or identity.threads >= 1
    parse_size(text)
    cpu_list(text)


@given(st.text())
def test_any_text_holds_a_reasonable_integer_or_none(text: str) -> None:
    number = integer(text)
    assert number is None or abs(number) < 10**18


def test_clusters_are_told_apart_by_part_and_capacity(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    base = "sys/devices/system/cpu"
    blocks = "".join(
        f"processor : {number}\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : {part}\n\n"
        for number, part in enumerate(["0xd05"] * 4 + ["0xd41"] * 4)
    )
    capacities = [250] * 4 + [891] * 3 + [1024]
    files = {f"{base}/cpu{number}/cpu_capacity": f"{value}\n" for number, value in enumerate(capacities)}
    speeds = {4: 2700000, 7: 3000000}
    files |= {f"{base}/cpu{n}/cpufreq/cpuinfo_max_freq": f"{khz}\n" for n, khz in speeds.items()}
    found = cpu.gather(scene(tree({"proc/cpuinfo": blocks, **files})))
    assert [(k["name"], k["cpus"], k["capacity"], k.get("max_mhz")) for k in found.shared["kinds"]] == [
        ("Cortex-A55", "0-3", 250, None),
        ("Cortex-A78", "4-6", 891, 2700),
        ("Cortex-A78", "7", 1024, 3000),
    ]


def test_hybrid_x86_by_the_kernels_lists(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    host = tree(
        {
            "proc/cpuinfo": "processor : 0\nflags : lm sse sse2\n",
            "sys/devices/cpu_core/cpus": "0-3\n",
            "sys/devices/cpu_atom/cpus": "4-11\n",
            "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq": "4700000\n",
        }
    )
    assert cpu.gather(scene(host)).shared["kinds"] == [
        {"name": "performance", "count": 4, "cpus": "0-3", "max_mhz": 4700},
        {"name": "efficiency", "count": 8, "cpus": "4-11"},
    ]


def test_what_contradicts_cpuinfo_is_recorded_with_it(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    cpuid = b'{"leaves":{"1":[0,0,268435456,100663296],"7":[0,32,0,0],"80000001":[0,0,0,536870912]}}'
    text = "processor : 0\nflags : lm sse sse2 fma avx\n"
    host = tree({"proc/cpuinfo": text, ".answers/cpuid.json": cpuid})
    found = cpu.gather(scene(host)).shared
    assert found["isa"] == ["avx", "fma", "lm", "sse", "sse2"]
    assert found["contradictions"] == [{"source": "cpuid", "only_here": ["avx2"], "only_in_cpuinfo": ["fma"]}]


def test_an_emulated_processor_contradicts_the_hosts_cpuinfo(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    auxv = make_auxv({6: 4096, 16: 0b11 | 1 << 20})
    found = cpu.gather(scene(tree({"proc/cpuinfo": arm("0xd08", 1), "proc/thread-self/auxv": auxv}))).shared
    assert found["contradictions"] == [{"source": "auxv", "only_here": ["asimddp"]}]


def test_this_machine_itself(scene: Callable[..., Scene]) -> None:
    found = cpu.gather(scene(Host()))
    assert found.shared["platform"] == os.uname().machine
    assert found.device["affinity"] == sorted(os.sched_getaffinity(0))
    assert found.shared["affinity"] == len(os.sched_getaffinity(0))


@given(st.sets(st.integers(0, 400)))
def test_lists_are_written_as_the_kernel_does(numbers: set[int]) -> None:
    assert cpu_list(short_list(numbers)) == sorted(numbers)
