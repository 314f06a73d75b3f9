"""A bundle larger than the memory that push, collector and device may have, over a line that breaks."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fleet import PROGRAMS, Bundles, Collector

from envcheck.contract.bundle import build_bundle
from envcheck.contract.canonical import digest
from envcheck.contract.keys import load_private_key

MB = 1024 * 1024
LARGE = 300 * MB
# Data of its own that a process may have: what is mapped from a file does not count.
LIMIT = 220 * MB

DEVICE = """
import sys, time
from pathlib import Path
from envcheck.contract.bundle import read_bundle
from envcheck.contract.wire import ReleaseOffer
from envcheck.errors import Unreachable
from envcheck.transport.bundles import BundleCache
from envcheck.transport.link import Link
from envcheck.transport.state import State

directory, url, sha256, size, key = sys.argv[1:]
link = Link(url, State(Path(directory)).key().credentials(time.time))
cache = BundleCache(Path(directory, "bundles"), print)
offer = ReleaseOffer(release="digits@large", sha256=sha256, size=int(size))
for attempt in range(20):
    try:
        bundle = read_bundle(cache.get(offer, link), "the bundle")
        break
    except Unreachable as error:
        print("again:", error.message, flush=True)
bundle.require_signature([key])
print("verified", bundle.sha256)
"""


class BreakingProxy:
    """Passes TCP on, and cuts every connection after so many bytes from the server."""

    def __init__(self, port: int, after: int) -> None:
        self.port, self.after = port, after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.cuts = 0
        self.ends: list[socket.socket] = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            self.ends += [client, server]
            threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, self.after), daemon=True).start()

    def close(self) -> None:
        for end in self.ends:
            end.close()

    def _pass(self, one: socket.socket, other: socket.socket, most: int | None) -> None:
        passed = 0
        try:
            while data := one.recv(256 * 1024):
                other.sendall(data)
                passed += len(data)
                if most is not None and passed > most:
                    self.cuts += 1
                    break
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def large(bundles: Bundles, tmp_path: Path) -> Path:
    """A signed bundle whose labels are 300 MB of noise; nobody is to look into them."""
    members = bundles._named("digits@large")
    members["labels.npz"] = os.urandom(LARGE)
    path = tmp_path / "large.envcheck"
    path.write_bytes(build_bundle("digits@large", members, load_private_key(bundles.pem, "the release key")))
    return path


def bounded(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)),
    )


def own_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


@pytest.fixture
def watched(collector: Collector) -> Iterator[list[int]]:
    """The collector's own memory, ten times a second."""
    assert collector._process is not None
    pid, seen, stop = collector._process.pid, [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(own_memory(pid))
            time.sleep(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    stop.set()
    thread.join()


@pytest.mark.slow
def test_a_large_bundle_is_pushed_and_fetched_in_little_memory_over_a_connection_that_breaks(
    large: Path, bundles: Bundles, collector: Collector, push_token: str, device, watched: list[int]
) -> None:
    push = [PROGRAMS / "envcheck", "push", large, "--for", "nobody=yet"]
    pushed = bounded(*push, "--collector", collector.url, "--token", push_token)
    assert pushed.returncode == 0, pushed.stderr
    press = device()
    press.run("enroll", collector.url, "--token", collector.token("enroll", "--uses", "1"))
    assert press.run("report").code == 0
    whole = digest(large.read_bytes())
    proxy = BreakingProxy(collector.port, 80 * MB)
    fetched = bounded(
        sys.executable, "-c", DEVICE, press.state, proxy.url, whole, large.stat().st_size, bundles.public_key
    )
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert f"verified {whole}" in fetched.stdout
    # Every connection broke, and every one brought it further: nothing was fetched twice.
    assert 3 <= proxy.cuts <= 6
    assert max(watched) < LIMIT
    proxy.close()
