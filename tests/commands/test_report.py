"""`envcheck report` against a real collector."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.fleet import Bundles, Collector, Device
from support.served import Answer, Asked, Served

from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.wire import ReleaseOffer, Report, ReportAnswer
from envcheck.transport.state import State

Make = Callable[[], Device]
LIMIT = 600


@pytest.fixture
def push(collector: Collector, bundles: Bundles, push_token: str, tmp_path: Path) -> Callable[..., str]:
    """Push a release that is meant for one device and return its name."""

    def make(device: Device, **options: Any) -> str:
        release = f"digits@{device.name}"
        file = bundles.write(tmp_path / f"{device.name}.envcheck", release, **options)
        said = device.commands(
            "push", file, "--for", f"test={device.name}", "--collector", collector.url, "--token", push_token
        )
        assert said.code == 0, said.err
        return release

    return make


def report(device: Device, *arguments: str) -> Report:
    said = device.run("report", "--json", *arguments)
    assert said.code == 0, said.err
    return decode(said.out.encode(), Report, "stdout")


def test_a_report_is_acknowledged(enrolled: Device, collector: Collector) -> None:
    said = enrolled.run("report")
    assert (said.code, said.out) == (0, f"{enrolled.name}: report 1 acknowledged by {collector.url}\n")
    assert report(enrolled).seq == 2


def test_a_release_is_fetched_run_and_told(
    enrolled: Device, collector: Collector, push: Callable[..., str], gate_token: str
) -> None:
    release = push(enrolled)
    told = report(enrolled)
    assert (told.seq, len(told.results)) == (2, 1)
    said = enrolled.commands("gate", release, "--cohort", f"test={enrolled.name}",
                             "--collector", collector.url, "--token", gate_token)  # fmt: skip
    assert said.code == 0, said.out


def test_an_unchanged_device_runs_nothing_and_says_little(enrolled: Device, push: Callable[..., str]) -> None:
    push(enrolled)
    first = report(enrolled)
    said = enrolled.run("report", "--json")
    steady = decode(said.out.encode(), Report, "stdout")
    assert (steady.seq, steady.results, said.err) == (first.seq + 1, first.results, "")
    assert len(said.out.encode().strip()) <= LIMIT
    fresh = report(enrolled, "--fresh")
    bundle = next(iter(first.results))
    assert fresh.seq == steady.seq + 2
    assert fresh.results[bundle].evidence == first.results[bundle].evidence
    assert fresh.results[bundle].latency != first.results[bundle].latency


def test_memory_is_bounded_as_configured(enrolled: Device, push: Callable[..., str]) -> None:
    push(enrolled)
    first = report(enrolled)
    enrolled.settings["smoke_memory_mib"] = 40
    second = report(enrolled)
    bundle = next(iter(first.results))
    assert second.seq == first.seq + 2
    assert (first.results[bundle].latency is None, second.results[bundle].latency) == (False, None)


def test_a_result_of_long_ago_is_measured_again(
    enrolled: Device, push: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(enrolled)
    first = report(enrolled)
    monkeypatch.setattr("envcheck.commands.report._REMEASURE_S", -1)
    assert report(enrolled).seq == first.seq + 2


def test_a_bundle_of_another_key_is_not_run(enrolled: Device, push: Callable[..., str]) -> None:
    release = push(enrolled)
    enrolled.settings["release_keys"] = ["A" * 43 + "="]
    said = enrolled.run("report", "--json")
    assert (said.code, decode(said.out.encode(), Report, "stdout").results) == (0, {})
    assert f"{release} was not run" in said.err
    assert "not pinned" in said.err


def test_without_a_pinned_key_nothing_is_even_fetched(enrolled: Device, push: Callable[..., str]) -> None:
    push(enrolled)
    del enrolled.settings["release_keys"]
    said = enrolled.run("report")
    assert (said.code, "release_keys" in said.err) == (0, True)
    assert not (enrolled.state / "bundles").exists()


def test_what_is_no_longer_offered_leaves_the_disk(
    enrolled: Device, collector: Collector, push: Callable[..., str]
) -> None:
    push(enrolled)
    report(enrolled)
    assert len(list((enrolled.state / "bundles").iterdir())) == 1
    collector.operate("device", "label", enrolled.name, "test=other")
    assert len(report(enrolled).results) == 1
    assert list((enrolled.state / "bundles").iterdir()) == list((enrolled.state / "results").iterdir()) == []
    assert report(enrolled).results == {}


def test_the_deployed_model_is_named_by_its_digest(enrolled: Device, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"one")
    enrolled.settings["model"] = str(model)
    first = report(enrolled).readings["model"]
    assert report(enrolled).readings["model"] == first
    model.write_bytes(b"two")
    assert report(enrolled).readings["model"] != first
    model.unlink()
    said = enrolled.run("report", "--json")
    assert decode(said.out.encode(), Report, "stdout").readings["model"] == "unreadable"
    assert str(model) in said.err


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a stand-in for systemd tell a service `app` with some settings."""

    def make(settings: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        start = (
            f"LoadState=loaded\nExecStart={{ path={sys.executable} ; argv[]={sys.executable} -m app ; }}\n"
        )
        (folder / "shown").write_text(start + settings)
        (folder / "systemctl").write_text(f"#!/bin/sh\ncat {folder}/shown\n")
        (folder / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return make


def test_a_services_variables_that_are_not_known_stop_no_report(
    enrolled: Device, unit: Callable[[str], None], push: Callable[..., str], gate_token: str
) -> None:
    """What the timer runs tells the rest; the gate does not take it for ready."""
    unit("EnvironmentFiles=/etc/no-such.env (ignore_errors=no)\n")
    enrolled.settings["unit"] = "app"
    push(enrolled)
    told = report(enrolled)
    assert len(told.results) == 1
    captured = enrolled.run("capture", "--json")
    section = msgspec.json.decode(captured.out)["sections"]["variables"]
    assert (section["status"], "no-such.env" in section["reason"]) == ("error", True)


def test_a_service_with_a_root_of_its_own_is_reported_and_its_model_not_run(
    enrolled: Device, unit: Callable[[str], None], push: Callable[..., str], tmp_path: Path
) -> None:
    unit(f"RootImage={tmp_path}/app.raw\n")
    enrolled.settings["unit"] = "app"
    push(enrolled)
    said = enrolled.run("report", "--json")
    assert said.code == 0, said.err
    assert decode(said.out.encode(), Report, "stdout").results == {}
    assert "can't be run from here" in said.err


def test_an_unreachable_collector_gets_the_report_later(
    device: Make, tmp_path: Path, bundles: Bundles
) -> None:
    own = Collector(tmp_path).start()
    press = device()
    try:
        press.run("enroll", own.url, "--token", own.token("enroll", "--uses", "1"))
        own.stop()
        said = press.run("report")
        assert said.code == 4
        assert "can't be reached" in said.err
        assert "the report is kept" in said.err
        assert len(list((press.state / "spool").iterdir())) == 1
        own.start(own.port)
        said = press.run("report")
        assert said.code == 0, said.err
        assert "the kept report 1" in said.err
        assert list((press.state / "spool").iterdir()) == []
    finally:
        own.stop()


class Hostile:
    """A collector in other hands: it acknowledges everything and offers what it likes."""

    def __init__(self, served: Served, offers: list[ReleaseOffer], data: bytes) -> None:
        self.served, self.offers, self.data = served, offers, data
        served.answers = self.answer

    def answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/v1/bundles/"):
            return Answer(200, self.data, {"Content-Type": "application/octet-stream"})
        told = ReportAnswer(stored=digest(asked.body), releases=self.offers)
        return Answer(200, encode(told))

    def fetched(self) -> int:
        return sum(asked.path.startswith("/v1/bundles/") for asked in self.served.asked)


@pytest.fixture
def hijacked(enrolled: Device, collector: Collector) -> Iterator[Served]:
    """Another server at the address where the device enrolled, as far as the device can tell."""
    served = Served()
    state = State(enrolled.state)
    state.save("enrolled", msgspec.structs.replace(state.enrolled(), collector=served.url))
    yield served
    served.close()


def offer(data: bytes, **changed: Any) -> ReleaseOffer:
    return ReleaseOffer(release="evil@1", **{"sha256": digest(data), "size": len(data), **changed})


def test_a_hostile_collector_makes_no_device_run_anything(
    enrolled: Device, hijacked: Served, bundles: Bundles, tmp_path: Path
) -> None:
    unsigned = bundles.write(tmp_path / "unsigned", "evil@1", signed=False).read_bytes()
    foreign = bundles.sign_with_another_key("evil@1")
    cases = {
        "is not signed": unsigned,
        "not pinned here": foreign,
        "not an envcheck bundle": b"import os",
        "other bytes": foreign[::-1],
    }
    for said_to_be, data in cases.items():
        Hostile(hijacked, [offer(foreign if said_to_be == "other bytes" else data)], data)
        said = enrolled.run("report", "--json")
        assert said.code == 0, said.err
        assert decode(said.out.encode(), Report, "stdout").results == {}
        assert "evil@1 was not run" in said.err
        assert said_to_be in said.err


def test_a_hostile_collector_fills_no_disk(enrolled: Device, hijacked: Served) -> None:
    hostile = Hostile(hijacked, [offer(b"x", size=2**60), offer(b"y", size=2**42)], b"z" * 1000)
    said = enrolled.run("report")
    assert (said.code, said.err.count("was not run"), hostile.fetched()) == (0, 2, 0)
    hostile.offers = [offer(str(number).encode()) for number in range(1000)]
    assert enrolled.run("report").code == 0
    assert hostile.fetched() <= 16


def test_what_was_refused_once_is_not_fetched_again(
    enrolled: Device, hijacked: Served, bundles: Bundles
) -> None:
    data = bundles.sign_with_another_key("evil@1")
    hostile = Hostile(hijacked, [offer(data)], data)
    assert [enrolled.run("report").code for _ in range(3)] == [0, 0, 0]
    assert hostile.fetched() == 1


def test_names_from_the_collector_are_inert_on_a_terminal(enrolled: Device, hijacked: Served) -> None:
    name = "\x1b[2Jevil\r\n\u202e@1"
    Hostile(hijacked, [msgspec.structs.replace(offer(b"x"), release=name)], b"x")
    said = enrolled.run("report")
    assert said.code == 0
    assert "evil" in said.err
    assert not {"\x1b", "\r", "\u202e"} & set(said.err)


@pytest.mark.parametrize("status", [200, 302, 403, 511])
def test_a_captive_portal_acknowledges_nothing(enrolled: Device, hijacked: Served, status: int) -> None:
    headers = {"Content-Type": "text/html", "Location": "http://login.example.com/"}
    hijacked.says(status=status, body=b"<html>Please log in</html>", headers=headers)
    said = enrolled.run("report")
    assert said.code == 4
    assert "the report is kept" in said.err
    assert len(list((enrolled.state / "spool").iterdir())) == 1


def test_a_revoked_device_is_told_so(enrolled: Device, collector: Collector) -> None:
    collector.operate("device", "revoke", enrolled.name)
    said = enrolled.run("report")
    assert (said.code, "revoked" in said.err) == (2, True)


def test_a_device_that_was_never_enrolled(device: Make) -> None:
    said = device().run("report")
    assert (said.code, "envcheck enroll" in said.err) == (2, True)


def test_another_collector_than_the_enrolled_one_is_refused(enrolled: Device) -> None:
    enrolled.settings["collector"] = "https://elsewhere.example.com"
    said = enrolled.run("report")
    assert (said.code, "elsewhere.example.com" in said.err) == (2, True)


def test_two_reports_at_once(enrolled: Device) -> None:
    with State(enrolled.state).lock():
        said = enrolled.run("report")
    assert (said.code, "another run" in said.err) == (2, True)
    assert enrolled.run("report").code == 0
