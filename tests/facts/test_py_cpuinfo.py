"""Platforms without /proc/cpuinfo: what py-cpuinfo tells, and that nobody takes it for a tree's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import cpu, py_cpuinfo
from envcheck.facts.cpu_identity import parse_cpuinfo
from envcheck.facts.host import Host
from envcheck.facts.py_cpuinfo import ask_identity, parse_identity
from envcheck.facts.section import Scene, Unavailable

# What `sysctl machdep.cpu hw.cpufrequency` prints on an Intel Mac, shortened.
SYSCTL = """\
machdep.cpu.vendor: GenuineIntel
machdep.cpu.brand_string: Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz
machdep.cpu.cache.size: 256
machdep.cpu.stepping: 10
machdep.cpu.model: 158
machdep.cpu.family: 6
machdep.cpu.features: SSE SSE2 SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT XSAVE AVX1.0 F16C
machdep.cpu.leaf7_features: BMI1 AVX2 BMI2
machdep.cpu.extfeatures: SYSCALL XD EM64T LAHF LZCNT
hw.cpufrequency: 2200000000
"""
NO_PROC = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or os.uname().machine != "x86_64",
    reason="only root may take /proc away from a process",
)


@pytest.fixture
def without_proc(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Run a capture where there is no /proc at all, with an empty cache of its own."""

    def run(**environ: str) -> dict[str, object]:
        script = (
            f"mount -t tmpfs none /proc && exec {sys.executable} -m envcheck capture --json --section cpu"
        )
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
        variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environ}
        done = subprocess.run(command, env=variables, capture_output=True, check=True, timeout=60)
        return dict(json.loads(done.stdout)["sections"]["cpu"])

    return run


@NO_PROC
def test_without_proc_the_processor_itself_tells(without_proc: Callable[..., dict[str, object]]) -> None:
    found = without_proc()
    told = parse_cpuinfo(Path("/proc/cpuinfo").read_text())
    assert told is not None
    assert found["status"] == "ok"
    shared = found["shared"]
    assert isinstance(shared, dict)
    assert (shared["vendor"], shared["model"], shared["architecture"]) == (told.vendor, told.model, "x86_64")
    assert {"sse2", "lm", "cx16"} <= set(shared["isa"])
    assert shared["threads"] == told.threads
    assert "contradictions" not in shared


@NO_PROC
def test_a_tool_of_the_platform_that_hangs_is_killed(
    without_proc: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    slow = tmp_path / "sysctl"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    begun = time.monotonic()
    found = without_proc(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert time.monotonic() - begun < 15
    assert found["status"] == "absent"


def test_a_macs_own_tool_is_understood(tmp_path: Path) -> None:
    """py-cpuinfo's source for macOS, with a stand-in for `sysctl`; the answer is kept until the next boot."""
    tool = tmp_path / "bin/sysctl"
    tool.parent.mkdir()
    (tmp_path / "told").write_text(SYSCTL)
    tool.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\nexec /bin/cat {tmp_path}/told\n")
    tool.chmod(0o755)
    host = Host(environ={"PATH": str(tool.parent), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    for _ in range(2):
        found = parse_identity(ask_identity(host, "boot-1"))
        assert found is not None
        assert (found.vendor, found.model) == ("GenuineIntel", "Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz")
        if os.uname().machine == "x86_64":
            assert (found.architecture, found.level) == ("x86_64", "x86-64-v3")
            assert {"avx", "avx2", "sse4_2", "pclmul", "lm"} <= set(found.isa)
    assert (tmp_path / "asked").read_text().count("asked") == 1
    assert ask_identity(host, "boot-2")
    assert (tmp_path / "asked").read_text().count("asked") == 2


def test_without_a_boot_id_the_time_of_the_boot_serves(tmp_path: Path) -> None:
    host = Host(environ={**os.environ, "XDG_CACHE_HOME": str(tmp_path)})
    if not ask_identity(host, ""):
        pytest.skip("py-cpuinfo knows nothing of this processor")
    assert (tmp_path / "envcheck/cpu.json").read_bytes().startswith(b"booted at 1")


def test_it_takes_no_second_to_count_ticks(tmp_path: Path) -> None:
    """`get_cpu_info` would sleep one."""
    script = py_cpuinfo._WHOLE
    assert "get_cpu_info(" not in script
    assert "get_raw_hz" not in script
    assert "_from_cpuid" not in script


def test_a_tree_without_cpuinfo_is_not_this_machine(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    with pytest.raises(Unavailable) as told:
        cpu.gather(scene(tree({"etc/hostname": "x"})))
    assert told.value.status == "absent"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"arch": "ARM_8", "count": 8, "brand_raw": "Apple M1"}', ("aarch64", "Apple M1", [], 8)),
        ('{"arch": "ARM_8", "bits": 64, "brand_raw": "x", "flags": ["asimd", "fp", "evtstrm"]}',
         ("aarch64", "x", ["asimd", "fp"], 0)),
        ('{"arch": "PPC_64", "bits": 64, "count": 1, "brand_raw": "POWER9"}', ("ppc_64", "POWER9", [], 1)),
        ('{"arch": "X86_64", "bits": 64, "count": -1, "vendor_id_raw": "AuthenticAMD"}',
         ("x86_64", "", ["lm"], 0)),
        ('{"arch": "X86_64", "bits": 64, "count": 2}', None),
        ("", None),
        ("[" * 9999, None),
    ],
)  # fmt: skip
def test_answers(answer: str, told: tuple[str, str, list[str], int] | None) -> None:
    found = parse_identity(answer.encode())
    assert (found and (found.architecture, found.model, found.isa, found.threads)) == told


@given(st.binary(max_size=200))
def test_any_answer_is_read(data: bytes) -> None:
    assert parse_identity(data) is None or parse_identity(data)
