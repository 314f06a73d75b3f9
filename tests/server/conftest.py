"""Collectors to test: a store of each kind, the application in this process, and a process of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from support.collector import Device, Holder
from support.postgres import Cluster
from support.postgres import cluster as run_cluster
from support.process import Process

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


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    made.end()
