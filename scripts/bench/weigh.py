"""What a fleet costs in the store alone: bytes for each device by table, batches of reports, gate questions.

    python scripts/bench/weigh.py --devices 100000 --database /tmp/fleet.db
    python scripts/bench/weigh.py --devices 100000 --database postgresql://bench@127.0.0.1/bench

The database must be empty. Every device enrols, states one of `--environments` and then reports
`--rounds` times with changed readings, in any order. What comes in over HTTP is measured by collector.py.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from envcheck.contract.canonical import digest
from envcheck.contract.evidence import Latency
from envcheck.contract.wire import Result
from envcheck_server.service.reports import judge_receipt
from envcheck_server.store.common import SqlStore
from envcheck_server.store.opening import connect_store
from envcheck_server.store.values import Cuts, Device, EnrolmentPlan, Key, NewReport, Statement, Token

BATCH = 256
ENROLLED_TOGETHER = 2000
NOW = 1_790_000_000
BUNDLE = digest(b"a bundle")


@dataclass
class Fleet:
    """Devices by number; everything about them comes from it."""

    size: int
    environments: int
    rng: random.Random

    def name(self, number: int) -> str:
        return f"press-{number:07}"

    def key(self, number: int) -> tuple[str, str]:
        """A key's id and the key. Real keys are random: these are as long and as different."""
        raw = digest(f"key {number}".encode())
        return raw[:32], base64.b64encode(bytes.fromhex(raw)).decode()

    def labels(self, number: int) -> dict[str, str]:
        return {"site": f"site-{number % 20}", "line": f"line-{number % 10}"}

    def statement(self, number: int) -> Statement:
        environment = number % self.environments
        evidence = {BUNDLE: digest(f"evidence {environment}".encode())}
        claim = digest(f"statement {environment}".encode())
        identity = int.from_bytes(bytes.fromhex(claim)[:8], "big", signed=True)
        return Statement(identity, digest(f"fingerprint {environment}".encode()), evidence)

    def report(self, number: int, seq: int) -> NewReport:
        base = 2 + number % 7 + self.rng.random()
        latency = Latency(
            runs=200,
            min_ms=round(base, 3),
            p50_ms=round(base * 1.1, 3),
            p90_ms=round(base * 1.3, 3),
            mad_ms=round(base * 0.02, 3),
        )
        result = Result(
            evidence="",
            measured_at="2026-09-21T10:13:20Z",
            latency=latency,
            peak_memory_mb=round(120 + base, 1),
            throttled=False,
        )
        fields: dict[str, Any] = msgspec.to_builtins(result)
        del fields["evidence"]
        return NewReport(
            device=self.name(number),
            key_id=self.key(number)[0],
            epoch=1,
            seq=seq,
            report=digest(f"{number} {seq}".encode()),
            statement=self.statement(number),
            seen_at=NOW + seq * 300,
            received_at=NOW + seq * 300 + 1,
            clock_offset=1,
            hardware=digest(f"hardware {number}".encode())[:16],
            readings=json.dumps({"memory.available_mib": self.rng.randrange(200, 4000)}),
            results=msgspec.json.encode({BUNDLE: fields}).decode(),
        )

    def shuffled(self) -> list[int]:
        numbers = list(range(self.size))
        self.rng.shuffle(numbers)
        return numbers


def enrol(store: SqlStore, fleet: Fleet) -> None:
    store.tokens.add(Token("t0000001", "h" * 64, "enroll", NOW))
    numbers = fleet.shuffled()
    for some in chunks(numbers, ENROLLED_TOGETHER):
        with store.together():
            for number in some:
                _enrol_one(store, fleet, number)


def _enrol_one(store: SqlStore, fleet: Fleet, number: int) -> None:
    keyid, public = fleet.key(number)
    hardware = digest(f"hardware {number}".encode())[:16]
    key = Key(fleet.name(number), keyid, public, "accepted", 1, "t0000001", hardware)
    device = Device(key.device, "accepted", fleet.labels(number), keyid, 1, NOW, hardware=hardware)
    store.devices.enrol(
        key.device, keyid, "h" * 64, lambda _facts: EnrolmentPlan(key, device, use_token=False)
    )


def put_objects(store: SqlStore, fleet: Fleet) -> None:
    """What the statements refer to is there, as it is of a fleet that has been reporting for a while."""
    for number in range(min(fleet.size, fleet.environments)):
        for name in fleet.statement(number).objects():
            store.objects.put(name, "section", name.encode() * 20, (), NOW)


def send(store: SqlStore, fleet: Fleet, seq: int) -> dict[str, float]:
    """Let every device report once; return what that took."""
    wall = cpu = 0.0
    for some in chunks(fleet.shuffled(), BATCH):
        batch = [fleet.report(number, seq) for number in some]
        begun, used = time.perf_counter(), time.process_time()
        store.reports.receive(batch, judge_receipt)
        wall += time.perf_counter() - begun
        cpu += time.process_time() - used
    return {
        "reports_per_s": round(fleet.size / wall),
        "cpu_us_per_report": round(cpu / fleet.size * 1e6, 1),
    }


def ask(store: SqlStore) -> dict[str, float]:
    """Time the questions that a gate asks, best of three."""
    plain = Cuts(bundle=BUNDLE, seen_before=NOW, seen_until=NOW + 10**6)
    budget = Cuts(
        bundle=BUNDLE, seen_before=NOW, seen_until=NOW + 10**6, p50_ms=(6.0,), peak_memory_mb=(500.0,)
    )
    questions = {
        "survey_s": lambda: store.fleet.survey(None, plain, ()),
        "survey_of_a_tenth_s": lambda: store.fleet.survey(lambda one: one["line"] == "line-3", plain, ()),
        "survey_with_a_budget_s": lambda: store.fleet.survey(None, budget, ()),
        "page_s": lambda: store.fleet.page(None, "press-0000500", 500, revoked=True),
    }
    return {name: round(min(_timed(question) for _ in range(3)), 4) for name, question in questions.items()}


def _timed(question: Any) -> float:
    begun = time.perf_counter()
    question()
    return time.perf_counter() - begun


def chunks(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def weigh(store: SqlStore, devices: int) -> dict[str, Any]:
    sizes = store.sizes()
    by_table = {name: round(size / devices, 1) for name, size in sizes.items() if size / devices > 0.5}
    return {"bytes_per_device": round(sum(sizes.values()) / devices, 1), "by_table": by_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--database", required=True)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--environments", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    place = chosen.database if "://" in chosen.database else Path(chosen.database)
    store = connect_store(place)
    store.migrate()
    if store.stats()["devices"]:
        parser.error("the database holds devices: name an empty one")
    fleet = Fleet(chosen.devices, chosen.environments, random.Random(7))
    found: dict[str, Any] = {"devices": fleet.size, "environments": fleet.environments}
    enrol(store, fleet)
    put_objects(store, fleet)
    found["rounds"] = [send(store, fleet, seq) for seq in range(1, chosen.rounds + 1)]
    found["store"] = weigh(store, fleet.size)
    found["questions"] = ask(store)
    found["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    store.close()
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
