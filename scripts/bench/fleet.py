"""A fleet without its devices: rows as enrolment and reports leave them in a store, and signed reports."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert

from envcheck.contract.document import encode
from envcheck.contract.evidence import Latency
from envcheck.contract.http_signature import sign_request
from envcheck.contract.keys import key_id, public_key_of
from envcheck.contract.wire import Report, Result
from envcheck_server.store import tables
from envcheck_server.store.devices import write_labels
from envcheck_server.store.packing import pack_results
from envcheck_server.store.values import Statement

_ROWS = 5_000


@dataclass(frozen=True)
class Member:
    """One device of the fleet with the key it signs with."""

    name: str
    key: Ed25519PrivateKey
    key_id: str


def database_of(store: Any) -> Any:
    """Return the database beneath a store: filling it by a million enrolments would take an hour."""
    return vars(store)["_database"]


def make_members(count: int) -> list[Member]:
    """Return devices, each with a key of its own."""
    members = []
    for number in range(count):
        key = Ed25519PrivateKey.generate()
        members.append(Member(f"press-{number:07d}", key, key_id(public_key_of(key))))
    return members


def enrol_members(store: Any, members: list[Member]) -> None:
    """Write what enrolment leaves of every device."""
    rows = [(one.name, one.key_id, public_key_of(one.key)) for one in members]
    _write_devices(store, ((name, kid, public, {}) for name, kid, public in rows), 10)


def populate(store: Any, count: int, statements: list[Statement], results: str, readings: str) -> None:
    """Write `count` devices that have reported: one of `statements` each, ten sets of labels."""
    now = int(time.time())

    def rows() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        for number in range(count):
            # A stride that shares no factor with ten: every cohort has every environment.
            statement = statements[(number * 7919) % len(statements)]
            reported = {
                "seq": 5,
                "report": os.urandom(8).hex(),
                "statement": statement.id,
                "seen_at": now - number % 200,
                "received_at": now - number % 200,
                "results": pack_results(results),
                "readings": readings,
                "hardware": os.urandom(8).hex(),
            }
            yield (
                f"press-{number:07d}",
                os.urandom(16).hex(),
                base64.b64encode(os.urandom(32)).decode(),
                reported,
            )

    with database_of(store).write() as connection:
        written = [
            {"id": one.id, "fingerprint": one.fingerprint, "evidence": json.dumps(one.evidence)}
            for one in statements
        ]
        database_of(store).insert_missing(connection, tables.statements, written)
    _write_devices(store, rows(), 10)


def _write_devices(store: Any, rows: Iterator[tuple[str, str, str, dict[str, Any]]], label_sets: int) -> None:
    blank = {
        "state": 0,
        "epoch": 1,
        "seq": -1,
        "report": "",
        "statement": None,
        "seen_at": None,
        "received_at": None,
        "clock_offset": 0,
        "enrolled_at": int(time.time()),
        "hardware": "",
        "results": pack_results("{}"),
        "readings": "{}",
    }
    with database_of(store).write() as connection:
        labels = [
            write_labels(database_of(store), connection, {"line": "press", "tenth": str(tenth)})
            for tenth in range(label_sets)
        ]
    number = 0
    while some := list(islice(rows, _ROWS)):
        devices = []
        for name, kid, public, reported in some:
            named = {"device": name, "key_id": kid, "public_key": public, "token": "00000000"}
            devices.append({**blank, **reported, **named, "label_set": labels[number % label_sets]})
            number += 1
        with database_of(store).write() as connection:
            connection.execute(insert(tables.devices), devices)


def sample_result(evidence: str, now: int) -> Result:
    """Return a result as a device sends it with every report."""
    return Result(
        evidence=evidence,
        measured_at=_written(now),
        latency=Latency(runs=1024, min_ms=1.873, p50_ms=1.912, p90_ms=2.207, mad_ms=0.021),
        peak_memory_mb=92.4,
        throttled=False,
    )


def signed_report(member: Member, host: str, seq: int, fingerprint: str, results: dict[str, Result]) -> bytes:
    """Return the whole HTTP request of a steady report."""
    now = int(time.time())
    report = Report(
        epoch=1,
        seq=seq,
        captured_at=_written(now),
        fingerprint=fingerprint,
        results=results,
        readings={"memory.available_mib": 3411},
        hardware=hashlib.sha256(member.name.encode()).hexdigest()[:32],
    )
    body = encode(report)
    path = f"/v1/devices/{member.name}/report"
    signed = sign_request("PUT", path, "", body, now, member.key_id, member.key.sign)
    fields = {"Host": host, "Content-Length": str(len(body)), "Content-Type": "application/json", **signed}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _written(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
