"""A collector in a process of its own, and the plainest client for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import httpx

_START_S = 60.0


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

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "envcheck_server", *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=60)

    def start(self) -> None:
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        serve = ["serve", "--port", "0", "--ready-file", str(ready), *self.flags]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "envcheck_server", *serve], env=self.environ, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while not ready.exists():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, "the collector does not come up"
            time.sleep(0.02)
        self.url = ready.read_text().strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def end(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def token(self, scope: str = "enroll", *options: str) -> str:
        made = self.run("token", "create", "--scope", scope, *options)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def memory_peak(self) -> int:
        """Return the most memory that the process ever held, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@dataclass
class Answer:
    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class Wire:
    """One kept connection, with little of its own that could take time; raises OSError when it breaks."""

    def __init__(self, url: str, timeout_s: float = 30) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        self._connection = HTTPConnection(place.hostname, place.port, timeout=timeout_s)

    def request(self, method: str, url: str, *, content: bytes = b"", headers: dict[str, str]) -> Answer:
        try:
            self._connection.request(method, url, content, headers)
            response = self._connection.getresponse()
            lowered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lowered, response.read())
        except HTTPException as error:
            raise ConnectionError(str(error)) from error

    def close(self) -> None:
        self._connection.close()
