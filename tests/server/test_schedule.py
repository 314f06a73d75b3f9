"""When devices come again: spread, steady, and apart after they came together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.collector import Device, told

from envcheck.contract.wire import ReportAnswer
from envcheck_server.service.schedule import next_report

NAMES = [f"press-{number:05}" for number in range(10_000)]
NOW = 1_800_000_000


@given(st.text(max_size=20), st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(1, 40 * 86400))
def test_it_is_never_now_nor_much_later_than_the_interval(
    device: str, seq: int, now: int, interval: int
) -> None:
    wait = next_report(device, seq, now, interval)
    assert 1 <= wait <= 7 * 86400
    assert wait <= interval * 1.55 + 1
    assert wait >= min(interval * 0.45 - 1, 7 * 86400)


def test_ten_thousand_that_come_back_at_once_come_apart_the_next_time() -> None:
    """However they report together, from then on no minute has much more than its share."""
    again = Counter((NOW + next_report(name, 7, NOW, 300)) % 300 // 60 for name in NAMES)
    assert all(1800 <= again[minute] <= 2200 for minute in range(5))


@pytest.mark.parametrize("interval", [60, 300, 3600])
def test_a_device_keeps_its_moment(interval: int) -> None:
    """Ten intervals on, jitter and late reports have moved it nowhere, and it came as often as it should."""
    for name in NAMES[:50]:
        now, moments = NOW, []
        for seq in range(30):
            now += next_report(name, seq, now, interval)
            moments.append(now % interval)
        centre = moments[-1]
        apart = [min((one - centre) % interval, (centre - one) % interval) for one in moments]
        assert max(apart) <= interval // 10 + 1
        assert abs((now - NOW) / 30 - interval) <= interval / 30


def test_the_same_report_again_is_told_the_same_moment(collector) -> None:
    device: Device = collector.device()
    report = device.compose()
    first = told(device.put_report(report), ReportAnswer)
    collector.ahead[0] = 97
    assert told(device.put_report(report), ReportAnswer) == first
