"""Answers of a gate as the outputs meet them, one of them hostile in every string."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envcheck.contract.wire import GateAnswer, GateGroup

# Would clear a terminal, end a table row or an attribute, load a picture, mention people, run a script.
PAYLOAD = (
    "\x1b[2J\x07\r\n| ]]>\"'</td><script>alert(1)</script> ![x](http://e/x) @all `rm` <!-- "
    "\u202e\u0000\ud83d\ude00"
)


@pytest.fixture
def answer() -> GateAnswer:
    return GateAnswer(
        release="digits-int8@1.3",
        cohort="line=press",
        outcome="pass",
        total=424,
        ready=412,
        blocked=9,
        unknown=3,
        min_ready=0.95,
        max_unknown=0.01,
        groups=[
            GateGroup(
                outcome="fail",
                reason="int8 products saturate: no VNNI",
                count=9,
                devices=["press-07", "press-11", "press-12", "press-19"],
                path="evidence.canaries.u8s8",
                cause="AVX2 without VNNI, and 12 of 14 heavy nodes are U8S8",
                hint="quantise with uint8 weights or reduce_range, or choose devices with VNNI",
            ),
            GateGroup(
                outcome="unknown",
                reason="no report for more than 24 h",
                count=3,
                devices=["press-90", "press-91", "press-92"],
                hint="is the device on, and its timer active?",
            ),
        ],
        common=["cpu.isa lacks avx512_vnni and avx_vnni (9 of 9; 0 of 412 ready)"],
    )


@pytest.fixture
def failing(answer: GateAnswer) -> GateAnswer:
    return msgspec.structs.replace(answer, outcome="fail", min_ready=1.0, max_unknown=0.0)


@pytest.fixture
def payload() -> str:
    return PAYLOAD


@pytest.fixture
def hostile(failing: GateAnswer) -> GateAnswer:
    """The failing answer with the payload in every string that another machine may have chosen."""
    plain: dict[str, Any] = msgspec.to_builtins(failing)
    plain.update(release=PAYLOAD, cohort=PAYLOAD, common=[PAYLOAD])
    for group in plain["groups"]:
        group.update(dict.fromkeys(("reason", "path", "cause", "hint"), PAYLOAD), devices=[PAYLOAD, PAYLOAD])
    return msgspec.convert(plain, GateAnswer)
