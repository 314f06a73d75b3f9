from __future__ import annotations

import os
import sys

from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts.executable import HEADER_BYTES, parse_executable


def own() -> bytes:
    with open(os.path.realpath(sys.executable), "rb") as file:  # noqa: PTH123 as it is read
        return file.read(HEADER_BYTES)


def test_this_interpreter() -> None:
    found = parse_executable(own())
    assert found is not None
    assert found.machine == os.uname().machine
    assert found.bits == (64 if sys.maxsize > 2**32 else 32)
    assert found.byteorder == sys.byteorder
    assert os.path.exists(found.loader)  # noqa: PTH110


@given(st.integers(0, HEADER_BYTES), st.integers(0, 500), st.binary(max_size=8))
def test_any_head_is_read(cut: int, at: int, noise: bytes) -> None:
    head = own()
    parse_executable(head[:cut])
    changed = parse_executable(head[:at] + noise + head[at + len(noise) :])
    assert changed is None or changed.bits in (32, 64)


@given(st.binary(max_size=200))
def test_what_is_no_program_is_none(data: bytes) -> None:
    assert data.startswith(b"\x7fELF") or parse_executable(data) is None
