"""The gate's answer for people."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from envcheck.contract.wire import GateAnswer, GateWaiver
from envcheck.output.gate import explain, gate_text, share, wanted


def shown(answer: GateAnswer, exit_code: int, width: int = 100) -> str:
    return gate_text(answer, exit_code, Console(width=width, highlight=False, markup=False))


def test_it_is_aligned_complete_and_ends_with_what_to_do(answer: GateAnswer) -> None:
    assert shown(answer, 0, 120).splitlines() == [
        "  ready     412   97.2%",
        "  blocked     9    2.1%   int8 products saturate: no VNNI   press-07 press-11 press-12 ... (+6)",
        "  unknown     3    0.7%   no report for more than 24 h      press-90 press-91 press-92",
        "",
        "in common   cpu.isa lacks avx512_vnni and avx_vnni (9 of 9; 0 of 412 ready)",
        "cause       AVX2 without VNNI, and 12 of 14 heavy nodes are U8S8",
        "mend        quantise with uint8 weights or reduce_range, or choose devices with VNNI",
        "mend        is the device on, and its timer active?",
        "",
        "verdict: pass (97.2% ready, 95% wanted; 0.7% unknown, 1% allowed)        exit 0",
    ]


def test_several_reasons_stand_below_each_other_with_their_counts(answer: GateAnswer) -> None:
    first = msgspec.structs.replace(answer.groups[0], count=6)
    second = msgspec.structs.replace(answer.groups[0], count=3, reason="numpy 1.26 here", cause="", hint="")
    lines = shown(msgspec.structs.replace(answer, groups=[first, second]), 0, 120).splitlines()
    assert "int8 products saturate: no VNNI (6)" in lines[1]
    assert lines[2].startswith(" " * 26 + "numpy 1.26 here (3)")


def test_what_was_waived_is_said_with_its_reason_and_end(answer: GateAnswer) -> None:
    waiver = GateWaiver(
        name="numpy-1",
        path="packages.numpy",
        reason="harmless\x1b[2J here",
        expires_at="2026-02-01T00:00:00Z",
        count=12,
    )
    lines = shown(msgspec.structs.replace(answer, waivers=[waiver]), 0, 120).splitlines()
    told = "packages.numpy on 12 devices until 2026-02-01T00:00:00Z: harmless\\x1b[2J here (numpy-1)"
    assert f"waived      {told}" in lines


def test_all_ready_says_no_more_than_that(answer: GateAnswer) -> None:
    ready = msgspec.structs.replace(answer, total=2, ready=2, blocked=0, unknown=0, groups=[], common=[])
    assert shown(ready, 0).splitlines()[-1] == (
        "verdict: pass (100.0% ready, 95% wanted)                                 exit 0"
    )
    assert len(shown(ready, 0).splitlines()) == 5


def test_nobody_asked_is_said(answer: GateAnswer) -> None:
    nobody = msgspec.structs.replace(answer, outcome="unknown", total=0, ready=0, blocked=0, unknown=0)
    assert explain(nobody) == "no device is selected"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_from_elsewhere_is_active(hostile: GateAnswer, width: int) -> None:
    written = shown(hostile, 1, width)
    assert not {"\x1b", "\x07", "\r", "\u202e", "\0"} & set(written)
    assert "\\x1b[2J" in written
    assert written.splitlines()[-1].endswith("exit 1")


@given(st.integers(0, 10_000_000), st.integers(1, 10_000_000))
def test_all_and_none_are_said_only_of_all_and_none(part: int, whole: int) -> None:
    part = min(part, whole)
    assert (share(part, whole) == "100.0%") == (part == whole)
    assert (share(part, whole) == "0.0%") == (part == 0)


@given(st.integers(0, 1000))
def test_what_was_wanted_is_shown_as_it_was_asked(tenths: int) -> None:
    assert float(wanted(tenths / 1000).rstrip("%")) == tenths / 10
