"""A collector with one device, for what runs in CI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fleet import Bundles, Collector, GateFleet


@pytest.fixture(scope="session")
def bundles() -> Bundles:
    return Bundles()


@pytest.fixture(scope="session")
def fleet(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateFleet]:
    collector = Collector(tmp_path_factory.mktemp("collector")).start()
    yield GateFleet.stage(collector, bundles, tmp_path_factory.mktemp("fleet"))
    collector.stop()
