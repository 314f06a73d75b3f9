"""What a graph tells of itself."""

from __future__ import annotations

import pytest

from envcheck.contract.baseline import Graph


@pytest.mark.parametrize(
    ("quantised", "count"),
    [({}, 0), ({"U8S8": 2, "QDQ": 3}, 5), ({"S8S8": 4}, 4), ({"dynamic": 1}, 1), ({"U8U8": 9}, 0)],
)
def test_int8_weights_saturate_and_uint8_weights_do_not(quantised: dict[str, int], count: int) -> None:
    assert Graph(sha256="a" * 64, size=1, ir_version=8, quantised=quantised).saturable == count
