"""The stores under test, each with a real collector process in front: made empty, filled, looked into."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psutil

from envcheck.contract.bundle import read_bundle
from envcheck.contract.document import document_digest, encode
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import Fingerprint, fingerprint_objects
from envcheck_server.commands.options import open_for_serving
from envcheck_server.settings import Settings

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
RELEASE = "digits@1.0"
_EXAMPLE = ROOT / "examples" / "digits"
_BIN = Path(sys.executable).parent


@dataclass
class Place:
    """One kind of store. `fresh` makes an empty one and returns how `--database` names it."""

    name: str
    fresh: Callable[[], str]
    work: Path
    database: str = ""
    bundle: str = ""

    def prepare(self, fill: Callable[[Any], object]) -> tuple[str, str, str]:
        """Make an empty store with one release and what this machine states of itself, then `fill` it.

        Returns the digests of evidence, fingerprint and bundle: reports of those miss nothing.
        """
        self.database = self.fresh()
        self.look(fill)
        with self.collector() as (_, host, port):
            self._push(f"http://{host}:{port}")
        fingerprint, evidence = self.state()
        self.look(lambda store: put_objects(store, [fingerprint], [evidence]))
        return document_digest(evidence), evidence.fingerprint, self.bundle

    def look(self, question: Callable[[Any], T]) -> T:
        """Open the store without a collector, ask, close."""
        store = open_for_serving(Settings(database=self.database))
        try:
            return question(store)
        finally:
            store.close()

    @contextmanager
    def collector(self) -> Iterator[tuple[psutil.Process, str, int]]:
        """Run a collector; yields its process, host and port."""
        ready = self.work / "ready"
        ready.unlink(missing_ok=True)
        command = [
            _BIN / "envcheck-server",
            "serve",
            "--port",
            "0",
            "--ready-file",
            ready,
            "--log-level",
            "error",
        ]
        process = subprocess.Popen([*map(str, command), "--database", self.database])
        try:
            while not (ready.exists() and ready.read_text().strip()):
                if process.poll() is not None:
                    raise SystemExit("the collector did not start")
                time.sleep(0.05)
            host, _, port = ready.read_text().strip().removeprefix("http://").rpartition(":")
            yield psutil.Process(process.pid), host, int(port)
        finally:
            process.terminate()
            process.wait(60)

    def memory(self, process: psutil.Process) -> float:
        """Return the collector's own peak of resident memory so far, in MiB."""
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return round(int(peak) / 1024, 1)

    def token(self, scope: str) -> str:
        """Make a token and return its secret."""
        made = self._run("envcheck-server", "token", "create", "--scope", scope, "--database", self.database)
        return made.strip().splitlines()[-1]

    def state(self) -> tuple[Fingerprint, Evidence]:
        """Return what a device that is as in training states."""
        whole = read_bundle(bundle_file().read_bytes(), "the bundle")
        training = whole.fingerprint()
        return training, bound(whole.baseline().evidence, self.bundle, training)

    def _push(self, url: str) -> None:
        file = bundle_file()
        self.bundle = read_bundle(file.read_bytes(), str(file)).sha256
        environ = {"ENVCHECK_COLLECTOR": url, "ENVCHECK_TOKEN": self.token("baseline:write")}
        self._run("envcheck", "push", str(file), environ=environ)

    def _run(self, command: str, *arguments: str, environ: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [str(_BIN / command), *arguments],
            env={**os.environ, **(environ or {})},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout


@cache
def bundle_file() -> Path:
    """Make a signed bundle of the example model once, in this machine's own environment."""
    directory = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "envcheck-bench")
    directory.mkdir(parents=True, exist_ok=True)
    file, key = directory / "digits.envcheck", directory / "release.pem"
    for old in (file, key, key.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    command = [str(_BIN / "envcheck")]
    subprocess.run([*command, "key", "create", str(key)], check=True, stdout=subprocess.DEVNULL)
    create = ["baseline", "create", str(_EXAMPLE / "cnn.onnx"), "--inputs", str(_EXAMPLE / "inputs.npz")]
    create += ["--labels", str(_EXAMPLE / "labels.npz"), "--name", RELEASE, "--key", str(key), "--quick"]
    subprocess.run([*command, *create, "-o", str(file)], check=True, stdout=subprocess.DEVNULL)
    return file


def bound(evidence: Evidence, bundle: str, fingerprint: Fingerprint) -> Evidence:
    """Return the evidence as measured with `bundle` under `fingerprint`."""
    digest, _ = fingerprint_objects(fingerprint.sections)
    return msgspec.structs.replace(evidence, bundle=bundle, fingerprint=digest)


def put_objects(store: Any, fingerprints: list[Fingerprint], evidence: list[Evidence]) -> None:
    """Store what devices upload: sections, fingerprints, evidence."""
    now = int(time.time())
    known: set[str] = set()
    for fingerprint in fingerprints:
        whole, objects = fingerprint_objects(fingerprint.sections)
        sections = [digest for digest in objects if digest != whole]
        for digest in sections:
            if digest not in known:
                store.objects.put(digest, "section", objects[digest], [], now)
                known.add(digest)
        store.objects.put(whole, "fingerprint", objects[whole], sections, now)
    for one in evidence:
        store.objects.put(document_digest(one), "evidence", encode(one), [], now)


@contextmanager
def _sqlite(work: Path) -> Iterator[Place]:
    numbers = iter(range(1_000))

    def fresh() -> str:
        return str(work / f"collector-{next(numbers)}.db")

    yield Place("sqlite", fresh, work)


@contextmanager
def _postgres(work: Path) -> Iterator[Place]:
    """A PostgreSQL of our own with what an administrator would leave as it is: fsync above all."""
    with ExitStack() as stack:
        url = os.environ.get("ENVCHECK_TEST_POSTGRES_URL", "")
        if not url:
            sys.path.insert(0, str(ROOT / "tests"))
            from support.postgres import own_server

            url = stack.enter_context(own_server(fsync="on", shared_buffers="128MB")).url

        def fresh() -> str:
            import psycopg

            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DROP DATABASE IF EXISTS envcheck_bench WITH (FORCE)")
                connection.execute("CREATE DATABASE envcheck_bench TEMPLATE template0")
            return urlunsplit(urlsplit(url)._replace(path="/envcheck_bench"))

        yield Place("postgres", fresh, work)


def places(names: list[str], work: Path) -> list[AbstractContextManager[Place]]:
    """Return the stores by name, each to be entered."""
    kinds = {"sqlite": _sqlite, "postgres": _postgres}
    return [kinds[name](work) for name in names]
