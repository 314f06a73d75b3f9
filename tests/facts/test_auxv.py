from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts.auxv import make_auxv, parse_auxv

PAGE, HWCAP, HWCAP2 = 6, 16, 26


def test_this_process_own_vector() -> None:
    auxv = parse_auxv(Path("/proc/self/auxv").read_bytes())
    assert auxv is not None
    assert auxv.bits == 64
    assert auxv.page_size == os.sysconf("SC_PAGE_SIZE")
    told, asked = auxv.named("x86_64" if os.uname().machine == "x86_64" else "aarch64")
    assert told
    assert told <= asked


@pytest.mark.parametrize("bits", [32, 64])
def test_vectors_are_read_as_they_were_written(bits: int) -> None:
    auxv = parse_auxv(make_auxv({PAGE: 16384, HWCAP: 0b11, 25: 0x7FFF_FFFF}, bits))
    assert auxv is not None
    assert (auxv.bits, auxv.page_size, auxv.entries[HWCAP]) == (bits, 16384, 3)


def test_arm_features_have_the_names_of_cpuinfo() -> None:
    # What a Cortex-A76 tells, as published for the Raspberry Pi 5.
    features = (
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
    )
    auxv = parse_auxv(make_auxv({PAGE: 4096, HWCAP: 0x119FFF, HWCAP2: 0}))
    assert auxv is not None
    told, _ = auxv.named("aarch64")
    assert told == set(features.split())
    newer = parse_auxv(make_auxv({PAGE: 4096, HWCAP: 3, HWCAP2: 1 << 1 | 1 << 13 | 1 << 14}))
    assert newer is not None
    assert newer.named("aarch64")[0] == {"fp", "asimd", "sve2", "i8mm", "bf16"}


def test_a_32_bit_process_on_a_64_bit_kernel_has_nothing_to_compare() -> None:
    auxv = parse_auxv(make_auxv({PAGE: 4096, HWCAP: 0x37B0D6}, 32))
    assert auxv is not None
    assert auxv.named("aarch64") == (set(), set())
    assert "neon" in auxv.named("arm")[0]


@given(st.binary(max_size=400), st.integers(0, 80))
def test_any_bytes_and_any_truncation_are_read(data: bytes, cut: int) -> None:
    for content in (data, make_auxv({PAGE: 4096, HWCAP: 1, HWCAP2: 2})[:cut]):
        auxv = parse_auxv(content)
        if auxv is not None:
            for architecture in ("x86_64", "aarch64", "arm", "riscv64"):
                told, asked = auxv.named(architecture)
                assert told <= asked
