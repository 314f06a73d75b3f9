"""Health tells the truth: a store that can't be written is not ready, and one that recovers is."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.collector import make_bundle, refused

from envcheck.contract.canonical import digest
from envcheck_server.store.interface import StoreBusy, StoreFull


@pytest.mark.parametrize(("fault", "status"), [(StoreFull("full"), 507), (StoreBusy("away"), 503)])
def test_a_store_that_can_not_be_written_is_not_ready(collector, monkeypatch, fault, status) -> None:
    def broken() -> None:
        raise fault

    http = collector.http
    monkeypatch.setattr(collector.services.store, "check", broken)
    answer = http.request("GET", "/readyz")
    assert refused(answer, status).message == fault.message
    assert int(answer.headers["Retry-After"]) > 0
    assert http.request("GET", "/healthz").status_code == 200
    monkeypatch.undo()
    assert http.request("GET", "/readyz").json()["status"] == "ready"


def test_the_store_is_asked_once_a_second_at_most(collector, monkeypatch) -> None:
    asked = []
    now = [100.0]
    monkeypatch.setattr(collector.services.readiness, "_timer", lambda: now[0])
    monkeypatch.setattr(collector.services.store, "check", lambda: asked.append(now[0]))
    for now[0] in (100.0, 100.5, 100.9, 101.0, 101.5):
        assert collector.http.request("GET", "/readyz").status_code == 200
    assert asked == [100.0, 101.0]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_full_disk_is_told_and_left_behind(collector) -> None:
    """SQLite's own limit on the size of its file stands for the disk's: the error is the same."""
    writer = collector.services.store._database.writer
    device = collector.device()
    ci = collector.holder("baseline:write")
    bundle = make_bundle(providers=["x" * 300_000])
    path = f"/v1/bundles/{digest(bundle)}"

    def limit(pages: int) -> None:
        with writer.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    limit(1)  # SQLite takes it as "as large as it is now"
    assert "disk" in refused(ci.send("PUT", path, bundle), 507).message
    assert refused(ci.send("GET", path), 404).message, "nothing is half-written"
    limit(10_000_000)
    assert ci.send("PUT", path, bundle).status_code == 200
    assert ci.send("GET", path).content == bundle
    assert device.report().stored


def test_who_asks_for_readiness_does_not_fill_the_queue(collector) -> None:
    """Anybody may ask, so asking must not turn reports away."""
    devices = [collector.device(name) for name in ("a", "b")]
    held, entered = threading.Event(), threading.Event()
    writer = collector.services.writer
    receive = writer._receive

    def slow(batch):
        entered.set()
        assert held.wait(20)
        return receive(batch)

    writer._receive = slow
    with ThreadPoolExecutor(22) as pool:
        first = pool.submit(devices[0].put_report, devices[0].compose())
        assert entered.wait(20)
        asked = [pool.submit(collector.http.request, "GET", "/readyz") for _ in range(20)]
        second = pool.submit(devices[1].put_report, devices[1].compose())
        while len(writer) < 2:
            assert not second.done()
        time.sleep(0.2)
        assert len(writer) == 2, "the report, and one question for all who ask"
        held.set()
        assert {one.result().status_code for one in (first, second, *asked)} == {200}


def test_a_disk_that_does_not_answer_is_not_ready(collector, monkeypatch) -> None:
    monkeypatch.setattr("envcheck_server.service.readiness._PATIENCE_S", 0.2)
    held = threading.Event()
    monkeypatch.setattr(collector.services.store, "check", lambda: held.wait(20))
    assert "does not answer" in refused(collector.http.request("GET", "/readyz"), 503).message
    held.set()
    monkeypatch.undo()
    assert collector.http.request("GET", "/readyz").status_code == 200


def test_a_writer_that_is_no_more_is_told_by_health(collector, caplog) -> None:
    """Such a thing can't happen. If it does, nobody waits for ever, and a supervisor learns of it."""

    class Fault(BaseException):
        """What no handler expects."""

    def broken(_batch) -> list:
        raise Fault

    device, writer = collector.device(), collector.services.writer
    writer._receive = broken
    assert "write no more" in refused(device.put_report(device.compose()), 503).message
    writer._thread.join(20)
    assert "Fault" in caplog.text
    assert refused(device.put_report(device.compose()), 503).hint
    for path in ("/healthz", "/readyz"):
        assert refused(collector.http.request("GET", path), 503).message
