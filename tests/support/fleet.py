"""A real collector in its own process, devices that are directories, and bundles of one real model."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from envcheck.baseline.create import Options, create_baseline
from envcheck.baseline.material import Material, Source
from envcheck.cli import envcheck, run_cli
from envcheck.contract.baseline import Baseline
from envcheck.contract.bundle import BASELINE, FINGERPRINT, build_bundle
from envcheck.contract.document import decode, encode
from envcheck.contract.fingerprint import Fingerprint, make_fingerprint
from envcheck.contract.keys import generate_private_key, load_private_key, public_key_of
from envcheck.facts.gather import capture
from envcheck.facts.host import resolve_target
from envcheck_server.cli import envcheck_server

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
PROGRAMS = Path(sys.executable).parent
_START_S = 30.0


class Collector:
    """A collector process on a free port, its database in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "collector.db"
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int = 0) -> Collector:
        """Start it and wait until it listens."""
        ready = self.directory / "url"
        ready.unlink(missing_ok=True)
        with (self.directory / "collector.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "envcheck-server", "serve", "--database", self.database, "--port", str(port),
                 "--ready-file", ready],
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while not (ready.exists() and ready.read_text().strip()):
            assert self._process.poll() is None, (self.directory / "collector.log").read_text()
            assert time.monotonic() < deadline, "the collector did not start in time"
            time.sleep(0.05)
        self.url = ready.read_text().strip()
        return self

    def stop(self) -> None:
        """Stop it; it may be started again with the same database and on the same port."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_START_S)
            self._process = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def token(self, scope: str, *options: str) -> str:
        """Make a token and return its secret."""
        return self.operate("token", "create", "--scope", scope, *options)

    def operate(self, *arguments: str) -> str:
        """Run a command of the operator and return what it printed."""
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            code = run_cli(envcheck_server, [*arguments, "--database", str(self.database)])
        assert code == 0, f"envcheck-server {' '.join(arguments)} ended with {code}"
        return written.getvalue().strip()


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@dataclass
class Commands:
    """Runs `envcheck` in this process, as the console script does."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Said:
        self.capsys.readouterr()
        code = run_cli(envcheck, [str(each) for each in arguments])
        written = self.capsys.readouterr()
        return Said(code, written.out, written.err)


@dataclass
class Device:
    """A device with a configuration of its own; `run` runs a command with that configuration."""

    directory: Path
    name: str
    commands: Commands
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def run(self, *arguments: object) -> Said:
        self.directory.mkdir(exist_ok=True)
        chosen = {"device": self.name, "state_dir": "state", "smoke_quick": True, **self.settings}
        config = self.directory / "config.yaml"
        config.write_text("".join(f"{name}: {_yaml(value)}\n" for name, value in chosen.items()))
        return self.commands(*arguments, "--config", config)


def _yaml(value: object) -> str:
    return msgspec.json.encode(value).decode()


class Bundles:
    """Bundles of the digits example, all from one real measurement on this machine."""

    def __init__(self) -> None:
        self.pem = generate_private_key()
        self.public_key = public_key_of(load_private_key(self.pem, "the release key"))
        target = resolve_target(None, None)
        material = Material(_source("cnn.onnx"), _source("inputs.npz"), _source("labels.npz"))
        self._members = create_baseline(material, "digits@1", target, capture(target), Options(quick=True))

    def write(self, path: Path, release: str, *, signed: bool = True, numpy: str | None = None) -> Path:
        """Write the bundle under another name; `numpy` claims that training had another version of it."""
        members = self._named(release)
        if numpy is not None:
            members[FINGERPRINT] = encode(
                _with_numpy(decode(members[FINGERPRINT], Fingerprint, "test"), numpy)
            )
        key = load_private_key(self.pem, "the release key") if signed else None
        path.write_bytes(build_bundle(release, members, key))
        return path

    def _named(self, release: str) -> dict[str, bytes]:
        name, _, version = release.partition("@")
        baseline = decode(self._members[BASELINE], Baseline, "test")
        renamed = msgspec.structs.replace(baseline, name=name, version=version)
        return {**self._members, BASELINE: encode(renamed)}

    def sign_with_another_key(self, release: str) -> bytes:
        """Return a whole bundle that a key signed which nobody pinned."""
        return build_bundle(
            release, self._named(release), load_private_key(generate_private_key(), "another")
        )


def _source(name: str) -> Source:
    return Source((EXAMPLES / name).read_bytes(), name)


def _with_numpy(training: Fingerprint, version: str) -> Fingerprint:
    packages = training.sections["packages"]
    shared = {**packages.shared, "numpy": {**packages.shared["numpy"], "version": version}}
    sections = {**training.sections, "packages": msgspec.structs.replace(packages, shared=shared)}
    return make_fingerprint(sections, training.captured_at, training.agent)


@dataclass(frozen=True)
class GateFleet:
    """One device that ran two releases: gate@ready fits it, gate@other says that training had another numpy.

    The cohort `one=<device>` is it alone; `token` may ask the gate.
    """

    collector: Collector
    device: str
    token: str

    @classmethod
    def stage(cls, collector: Collector, bundles: Bundles, directory: Path) -> GateFleet:
        """Push the releases, enrol the device, let it report."""
        push_token = collector.token("baseline:write")
        for release, options in (("gate@ready", {}), ("gate@other", {"numpy": "1.0.0"})):
            file = bundles.write(directory / release, release, **options)
            must("push", file, "--policy", "strict", "--for", "role=gate", "--collector", collector.url,
                 "--token", push_token)  # fmt: skip
        device, config = "press-gate", directory / "config.yaml"
        keys = _yaml([bundles.public_key])
        config.write_text(f"device: {device}\nstate_dir: state\nsmoke_quick: true\nrelease_keys: {keys}\n")
        token = collector.token("enroll", "--uses", "1", "--label", "role=gate", "--label", f"one={device}")
        must("enroll", collector.url, "--token", token, "--config", config)
        must("report", "--config", config)
        return cls(collector, device, collector.token("gate:read"))


def must(*arguments: object) -> None:
    """Run `envcheck` in this process; it must succeed."""
    code = run_cli(envcheck, [str(each) for each in arguments])
    assert code == 0, f"envcheck {arguments[0]} ended with {code}"
