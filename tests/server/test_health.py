"""Health tells the truth: a store that can't be written is not ready, and one that recovers is."""

from __future__ import annotations

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
    assert ("Retry-After" in answer.headers) == (status == 503)
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
