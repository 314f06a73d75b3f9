"""What the collector counts of itself is true, costs little, and is told to whoever may know it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.collector import Device, evidence_of, make_bundle, refused

from envcheck_server.service.metrics import DeviceCount

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(holder) -> Samples:
    answer = holder.send("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples["envcheck_" + name, tuple(sorted(labels.items()))]


def test_what_happens_is_counted(collector) -> None:
    holder = collector.holder("metrics:read")
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device()
    before = scrape(holder)
    report = device.compose(evidence_of(device, bundle))
    for _ in range(3):
        device.put_report(report)
    device.report(evidence_of(device, bundle))
    refused(Device(collector.http).put_object(b"{}"), 401)
    refused(collector.http.request("GET", "/nothing"), 404)
    refused(device.send("PUT", "/v1/devices/press-07/report", b"{}"), 400)
    collector.holder("gate:read").gate()
    after = scrape(holder)

    def more(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    assert (more("reports_total", receipt="stored"), more("reports_total", receipt="repeated")) == (2, 2)
    assert more("commit_reports_sum") == 4
    assert more("commit_seconds_count") == more("commit_reports_count") > 0
    objects = collector.services.store.stats()["objects"]
    assert more("objects_total") == objects > 0
    assert more("object_bytes_total") > 100 * objects
    assert more("received_bytes_total") > more("object_bytes_total")
    for reason in ("unauthenticated", "no_route", "bad_input"):
        assert of(after, "refused_total", reason=reason) == 1
    assert more("request_seconds_count", method="POST", route="/v1/gate") == 1
    assert more("request_seconds_sum", method="POST", route="/v1/gate") > 0
    reports = {"method": "PUT", "route": "/v1/devices/{device}/report"}
    assert more("request_seconds_count", **reports) == 5
    assert more("request_seconds_bucket", le="+Inf", **reports) == 5
    assert of(after, "queue_writes") == 0
    assert of(after, "queue_capacity") == 4096


def test_failed_commits_are_counted(collector) -> None:
    holder, device = collector.holder("operator"), collector.device()

    def broken(_batch):
        raise OSError("the disk")

    writer = collector.services.writer
    kept, writer._receive = writer._receive, collector.services.metrics.watched(broken)
    assert refused(device.put_report(device.compose()), 500).message
    writer._receive = kept
    found = scrape(holder)
    assert of(found, "failed_commits_total") == 1
    assert of(found, "refused_total", reason="failed") == 1


def test_devices_are_counted_by_state(collector) -> None:
    for name in ("a", "b"):
        collector.device(name)
    Device(collector.http, "c").enrol(collector.token())
    found = scrape(collector.holder("admin"))
    assert of(found, "devices", state="accepted") == 2
    assert of(found, "devices", state="pending") == 1
    assert of(found, "devices", state="quarantined") == 0


@pytest.mark.parametrize(("takes_s", "again_after_s"), [(0.001, 15), (2.0, 200)])
def test_a_large_fleet_is_counted_seldom(takes_s: float, again_after_s: float) -> None:
    now = [0.0]
    counted = []

    def count() -> dict:
        counted.append(now[0])
        now[0] += takes_s
        return {"accepted": len(counted)}

    devices = DeviceCount(count, lambda: now[0])

    def accepted() -> float:
        (family,) = devices.collect()
        return next(one.value for one in family.samples if one.labels == {"state": "accepted"})

    assert [accepted(), accepted()] == [1, 1]
    now[0] += again_after_s - 0.1
    assert accepted() == 1
    now[0] += 0.2
    assert accepted() == 2


@pytest.mark.parametrize("scope", ["gate:read", "baseline:write", "enroll"])
def test_who_may_not_know_is_told_nothing(collector, scope) -> None:
    assert refused(collector.holder(scope).send("GET", "/metrics"), 403).message
    assert refused(collector.http.request("GET", "/metrics"), 401).message
    assert refused(collector.device().send("GET", "/metrics"), 401).message


def test_a_strangers_words_make_no_series(collector) -> None:
    """A label of a stranger's choice would fill the memory of the collector and of Prometheus."""
    holder = collector.holder("metrics:read")
    before = scrape(holder)
    for number in range(50):
        collector.http.request("GET", f"/x{number}")
        refused(collector.device(f"d-{number}").send("GET", f"/v1/bundles/{number:064x}"), 404)
    after = scrape(holder)
    new = {name for name, _ in set(after) - set(before)}
    assert new <= {"envcheck_refused_total", "envcheck_refused_created"}


def test_a_real_collector_counts_connections_and_its_own_memory(process) -> None:
    process.start()
    secret = process.token("metrics:read")
    address = process.url.removeprefix("http://").split(":")
    with process.client() as http:

        def look() -> Samples:
            from support.collector import Holder

            return scrape(Holder(http, secret))

        assert of(look(), "open_connections") == 1
        held = [socket.create_connection((address[0], int(address[1]))) for _ in range(5)]
        time.sleep(0.3)
        found = look()
        assert of(found, "open_connections") == 6
        assert found["process_resident_memory_bytes", ()] > 10_000_000
        held[0].sendall(b"x" * 70_000)
        for one in held:
            one.close()
        deadline = time.monotonic() + 20
        while of(look(), "open_connections") > 1:
            assert time.monotonic() < deadline


def test_every_metric_is_documented(collector) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    written = collector.holder("metrics:read").send("GET", "/metrics").text
    served = {line.split()[2] for line in written.splitlines() if line.startswith("# TYPE envcheck_")}
    assert {name for name in served if f"`{name}" not in text and not name.endswith("_created")} == set()
