from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts import cpuid
from envcheck.facts.cpu_identity import parse_cpuinfo
from envcheck.facts.cpuid import Cpuid, ask_cpuid, glibc_leaves, parse_cpuid
from envcheck.facts.host import Host
from envcheck.facts.isa import x86_isa

on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="CPUID is x86's")
ZERO = [0, 0, 0, 0]


@on_x86
def test_glibc_and_py_cpuinfo_agree_about_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(environ={"XDG_CACHE_HOME": str(tmp_path)})
    told, asked = parse_cpuid(ask_cpuid(host, "")).named()
    monkeypatch.setattr(cpuid, "glibc_leaves", dict)
    also_told, also_asked = parse_cpuid(ask_cpuid(host, "one-boot")).named()
    assert len(also_asked) > 20
    assert also_asked <= asked
    assert told & also_asked == also_told
    assert (tmp_path / "envcheck" / "cpuid.json").exists()


@on_x86
def test_this_machine_was_asked_and_has_what_64_bits_need() -> None:
    leaves = glibc_leaves()
    if not leaves:
        pytest.skip("this C library tells no CPUID")
    told, _ = Cpuid(leaves=leaves).named()
    assert {"lm", "sse", "sse2"} <= told
    identity = parse_cpuinfo(Path("/proc/cpuinfo").read_text())
    assert identity is not None
    assert {"sse", "sse2"} <= set(identity.isa) & told


def test_registers_are_read_bit_by_bit() -> None:
    leaves = {"1": [0, 0, 1 << 28 | 1 << 12, 1 << 26], "7": [0, 1 << 5, 1 << 11, 0], "7.1": [1 << 4, 0, 0, 0]}
    told, asked = Cpuid(leaves=leaves).named()
    assert told == {"avx", "fma", "sse2", "avx2", "avx512_vnni", "avx_vnni"}
    assert "lm" not in asked


def test_every_name_is_one_that_cpuinfo_may_tell() -> None:
    told, asked = Cpuid(leaves=dict.fromkeys(("1", "7", "80000001", "7.1"), ZERO)).named()
    assert told == set()
    kernel = {"sse3": "pni", "lzcnt": "abm", "lahf": "lahf_lm", "pclmul": "pclmulqdq"}
    assert set(x86_isa(kernel.get(name, name) for name in asked)) == asked


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_answer_is_read(data: bytes, cut: int) -> None:
    for content in (
        data,
        b'{"leaves":{"1":[1,2,3,4]},"flags":["avx"]}'[:cut],
        b'{"leaves":{"1":[-1]}}',
        b'{"flags":["\xff"]}',
    ):
        told, asked = parse_cpuid(content).named()
        assert told <= asked
