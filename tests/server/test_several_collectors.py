"""Several collector processes over one PostgreSQL: a device may talk to any of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from support.collector import Device, evidence_of, make_bundle

from envcheck_server.store.opening import open_store


@pytest.fixture
def collectors(process: Any, tmp_path, postgres: str) -> Iterator[list[Any]]:
    (tmp_path / "second").mkdir()
    both = [process, type(process)(tmp_path / "second")]
    for one in both:
        one.database = postgres
        one.start()
    yield both
    both[1].stop()


def test_a_report_resent_to_two_collectors_at_once_is_stored_once(collectors, postgres: str) -> None:
    with ExitStack() as opened:
        clients = [opened.enter_context(one.client()) for one in collectors]
        device = Device(clients[0])
        device.enrol(collectors[1].token("enroll", "--uses", "1"))
        for _ in range(5):
            report = device.compose()
            twins = [copy.copy(device) for _ in range(24)]
            for place, twin in enumerate(twins):
                twin.http = clients[place % 2]
            with ThreadPoolExecutor(len(twins)) as pool:
                answers = set(pool.map(lambda twin, one=report: twin.put_report(one).content, twins))
            assert len(answers) == 1
    store = open_store(postgres)
    row = store.devices.find(device.name)
    assert row is not None
    assert (row.seq, store.stats()["changes"]) == (5, 1)
    store.close()


def test_what_one_collector_was_told_the_other_knows(collectors) -> None:
    bundle = make_bundle()
    with ExitStack() as opened:
        here, there = (opened.enter_context(one.client()) for one in collectors)
        device = Device(here)
        device.enrol(collectors[0].token("enroll", "--uses", "1"))
        evidence = evidence_of(device, bundle)
        device.report(evidence)
        device.http = there
        assert device.report(evidence).missing == []
        assert collectors[0].run("device", "revoke", device.name).returncode == 0
        assert {device.put_report(device.compose()).status_code for device.http in (here, there)} == {403}
