"""Timings of other device classes."""

from __future__ import annotations

from typing import Any

import pytest

from envcheck.baseline.timings import Timed, read_timings
from envcheck.contract.document import encode
from envcheck.contract.evidence import Ending, Evidence, Latency, Smoke, SmokeReadings
from envcheck.errors import BadInput

MODEL = "a" * 64
QUICK = SmokeReadings(latency=Latency(runs=10, min_ms=1.0, p50_ms=2.0))


def timed(name: str = "pi.json", *, status: Any = "ok", **changes: Any) -> Timed:
    ending = Ending(status=status, reason="" if status == "ok" else "it hung")
    values: dict[str, Any] = {
        "release": "digits@1.0",
        "measured_at": "2026-01-01T00:00:00Z",
        "evidence": Evidence(bundle="b" * 64, fingerprint="f" * 64, ending=ending),
        "readings": QUICK,
        "model": MODEL,
        "device_class": "Raspberry Pi 4",
        **changes,
    }
    return Timed(encode(Smoke(**values)), name)


def read(*documents: Timed) -> tuple[dict[str, SmokeReadings], list[str]]:
    told: list[str] = []
    return read_timings(documents, MODEL, told.append), told


def test_readings_are_kept_by_class() -> None:
    found, told = read(timed(), timed("jetson.json", device_class="NVIDIA Jetson Orin Nano (MAXN)"))
    assert found == {"Raspberry Pi 4": QUICK, "NVIDIA Jetson Orin Nano (MAXN)": QUICK}
    assert told == []


def test_throttled_timings_are_remarked_on() -> None:
    _, told = read(timed(readings=SmokeReadings(latency=QUICK.latency, throttled=True)))
    assert told == ["pi.json: the device was throttled meanwhile, so that these timings say little"]


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([Timed(b"{}", "x.json")], "x.json"),
        ([Timed(b"hello", "x.json")], "x.json"),
        ([timed(model="")], "pi.json does not say which model it ran"),
        ([timed(device_class="")], "pi.json does not say what device it was measured on"),
        (
            [timed(model="c" * 64)],
            "pi.json was measured with another model (digits@1.0, sha256 cccccccccccc...)",
        ),
        ([timed(status="timeout")], "did not end well: it hung"),
        ([timed(readings=SmokeReadings())], "pi.json holds no latencies"),
        (
            [timed(), timed("other.json")],
            "pi.json and other.json are both of the device class 'Raspberry Pi 4'",
        ),
    ],
)
def test_what_says_nothing_of_this_model_is_refused(documents: list[Timed], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(*documents)
    assert words in refused.value.message
