"""A real collector for the tests of each command that talks to one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fleet import Bundles, Collector, Commands, Device

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    made = Collector(tmp_path_factory.mktemp("collector")).start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def bundles() -> Bundles:
    return Bundles()


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    for name in ("ENVCHECK_TOKEN", "ENVCHECK_COLLECTOR", "ENVCHECK_CONFIG", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Commands(capsys)


@pytest.fixture
def device(tmp_path: Path, commands: Commands, bundles: Bundles) -> Callable[..., Device]:
    """Make a device that is not yet enrolled; its label `test` is like its name and no other's."""

    def make() -> Device:
        name = f"press-{next(_numbers):03}"
        return Device(tmp_path / name, name, commands, {"release_keys": [bundles.public_key]})

    return make


@pytest.fixture
def enrolled(device: Callable[..., Device], collector: Collector) -> Device:
    """A device that the collector has accepted, labelled `test=<its name>`."""
    made = device()
    token = collector.token("enroll", "--uses", "1", "--label", f"test={made.name}")
    assert made.run("enroll", collector.url, "--token", token).code == 0
    return made


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try as often as in life, but do not wait long in between."""
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda _self: 0.01)


@pytest.fixture(scope="module")
def gate_token(collector: Collector) -> str:
    return collector.token("gate:read")


@pytest.fixture(scope="module")
def push_token(collector: Collector) -> str:
    return collector.token("baseline:write")
