"""Collectors to test: a store of each kind, the application in this process, and a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient
from support.collector import Device, Holder
from support.postgres import Cluster
from support.postgres import cluster as run_cluster

from envcheck_server.app import create_app
from envcheck_server.service.services import Services, make_services
from envcheck_server.settings import Settings
from envcheck_server.store.common import SqlStore
from envcheck_server.store.interface import Store
from envcheck_server.store.opening import open_store
from envcheck_server.store.postgres import connect_postgres
from envcheck_server.store.sqlite import SqliteStore
from envcheck_server.store.values import Scope


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database of the newest schema, to be copied: migrating takes its time."""
    path = tmp_path_factory.mktemp("store") / "collector.db"
    store = SqliteStore(path)
    store.migrate()
    store.close()
    return path


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real PostgreSQL, started once."""
    with run_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    """The name of an empty PostgreSQL database of the newest schema, to be copied."""
    url = cluster.create()
    store = connect_postgres(url)
    store.migrate()
    store.close()
    yield url.rpartition("/")[2]
    cluster.drop(url)


@pytest.fixture
def postgres(cluster: Cluster, template: str) -> Iterator[str]:
    """The URL of a PostgreSQL database of the newest schema that only this test uses."""
    url = cluster.create(template)
    yield url
    cluster.drop(url)


@pytest.fixture
def empty_postgres(cluster: Cluster) -> Iterator[str]:
    url = cluster.create()
    yield url
    cluster.drop(url)


KINDS = ("sqlite", "postgres")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test over every kind of store, unless its module or the test itself names some."""
    named = {mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")}
    for fixture in {"place", "empty_place"} & set(metafunc.fixturenames) - named:
        metafunc.parametrize(fixture, getattr(metafunc.module, "STORES", KINDS), indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database of each kind, its schema the newest: a file or a URL."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres")
        return url
    shutil.copyfile(request.getfixturevalue("migrated"), tmp_path / "collector.db")
    return tmp_path / "collector.db"


@pytest.fixture
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database of each kind in which there is nothing yet."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("empty_postgres")
        return url
    return tmp_path / "empty.db"


@pytest.fixture
def store(place: Path | str) -> Iterator[SqlStore]:
    made = open_store(place)
    yield made
    made.close()


@dataclass
class Collector:
    """A collector in this process; `ahead` moves its clock into the future."""

    http: Any
    services: Services
    ahead: list[int]

    def token(self, scope: Scope = "enroll", **fields: Any) -> str:
        return self.services.tokens.create(scope, **fields)[0]

    def holder(self, scope: Scope) -> Holder:
        return Holder(self.http, self.token(scope))

    def device(self, name: str = "press-07", **fields: Any) -> Device:
        """A device that is enrolled and accepted; `labels` are the token's."""
        labels = fields.pop("labels", {})
        device = Device(self.http, name, **fields)
        assert device.enrol(self.token(uses=1, labels=labels)).state == "accepted"
        return device


@pytest.fixture
def settings() -> Settings:
    return Settings(max_object_bytes=64 * 1024, max_report_bytes=32 * 1024)


@pytest.fixture
def collector(store: Store, settings: Settings) -> Iterator[Collector]:
    made: list[Services] = []
    ahead = [0]

    def make(given: Settings, over: Store) -> Services:
        made.append(make_services(given, over, lambda: int(time.time()) + ahead[0]))
        return made[0]

    with TestClient(create_app(settings, store, make)) as client:
        yield Collector(client, made[0], ahead)


@dataclass
class Process:
    """A collector in a process of its own, over one database: a file of its directory unless it is named."""

    directory: Path
    flags: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    database: Path | str = ""

    @property
    def place(self) -> Path | str:
        return self.database or self.directory / "collector.db"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "ENVCHECK_SERVER_DATABASE": str(self.place)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "envcheck_server", *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=60)

    def start(self) -> None:
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "envcheck_server",
            "serve",
            "--port",
            "0",
            "--ready-file",
            str(ready),
        ]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *self.flags], env=self.environ, stderr=log)
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "the collector does not come up"
            time.sleep(0.02)
        self.url = ready.read_text().strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def token(self, scope: str = "enroll", *options: str) -> str:
        made = self.run("token", "create", "--scope", scope, *options)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
