"""The instruction sets that the C library of the smoke child found: in this process, in others, emulated."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from support.tools import missing, need

from envcheck.contract.bundle import Bundle
from envcheck.facts import cpuid
from envcheck.facts.host import Target
from envcheck.smoke import child_isa
from envcheck.smoke.isa import loader_isa
from envcheck.smoke.job import LoaderFeatures
from envcheck.smoke.run import run_smoke

MACHINE = os.uname().machine
ASK = """
import json, sys
sys.path[0] = sys.argv[1]
import child_isa
print(json.dumps(child_isa.loader_features()))
"""


def told_by(*command: str, **variables: str) -> list[str]:
    """Ask a process of another kind, as the child asks its own."""
    folder = str(Path(child_isa.__file__).parent)
    said = subprocess.run(
        [*command, "-c", ASK, folder], env=dict(os.environ, **variables), capture_output=True, check=True
    )
    return loader_isa("x86_64-glibc2", msgspec.json.decode(said.stdout, type=LoaderFeatures))


@pytest.fixture(autouse=True, scope="module")
def told_here() -> None:
    if not child_isa.loader_features():
        missing("this C library tells no instruction sets")


def test_they_are_part_of_the_evidence(digits: Bundle) -> None:
    found = run_smoke(digits, Target(), fingerprint="f", quick=True).evidence.runtime.loader_isa
    assert found == sorted(set(found))
    assert {"sse", "sse2"} <= set(found) if MACHINE == "x86_64" else "asimd" in found
    assert found == loader_isa(
        f"{MACHINE}-glibc", msgspec.convert(child_isa.loader_features(), LoaderFeatures)
    )


@pytest.mark.skipif(MACHINE != "x86_64", reason="GLIBC_TUNABLES masks instruction sets of x86")
def test_what_the_loader_may_not_use_is_left_out() -> None:
    """The processor has it all the same, and numpy says so."""
    everything = told_by(sys.executable)
    if "ssse3" not in everything:
        missing("this processor has no SSSE3")
    masked = told_by(sys.executable, GLIBC_TUNABLES="glibc.cpu.hwcaps=-SSSE3,-AVX2")
    assert set(everything) - set(masked) == {"ssse3", "avx2"} & set(everything)


@pytest.mark.skipif(MACHINE != "x86_64", reason="the interpreter here is not x86's")
@pytest.mark.parametrize(("cpu", "avx2"), [("Haswell", True), ("Nehalem", False)])
def test_an_emulated_processor_is_seen_as_it_is(cpu: str, avx2: bool) -> None:
    found = told_by(need("qemu-x86_64-static"), "-cpu", cpu, sys.executable)
    assert ("avx2" in found) is avx2
    assert {"sse2", "sse4_2", "popcnt"} <= set(found)
    assert not [name for name in found if name.startswith("avx512")]


def test_arm_tells_two_words() -> None:
    fp_asimd_evtstrm, i8mm = 0b111, 1 << 13
    words = LoaderFeatures(hwcap=[fp_asimd_evtstrm, i8mm])
    assert loader_isa("aarch64-glibc2.36", words) == ["asimd", "fp", "i8mm"]
    assert loader_isa("armv7l-musl", LoaderFeatures(hwcap=[1 << 12, 0])) == ["neon"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64", ""])
def test_who_tells_nothing_has_no_names(machine: str) -> None:
    assert loader_isa(f"{machine}-musl", LoaderFeatures()) == []


def test_it_asks_for_the_leaves_that_the_agent_can_name() -> None:
    assert child_isa.GLIBC_INDEX == cpuid._GLIBC_INDEX


def test_asking_takes_less_than_a_millisecond() -> None:
    took = []
    for _ in range(20):
        begin = time.perf_counter()
        child_isa.loader_features()
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.001
