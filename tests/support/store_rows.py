"""Rows for stores, by hand: what contract tests put in."""

from __future__ import annotations

from typing import Any

from envcheck_server.store.interface import Store
from envcheck_server.store.values import (
    Device,
    EnrolmentPlan,
    Key,
    NewReport,
    Received,
    Statement,
    Token,
)

STATEMENT = Statement(id=-7, fingerprint="f" * 64, evidence={"b" * 64: "e" * 64})


def a_token(**changed: Any) -> Token:
    values: dict[str, Any] = {"id": "t1", "secret_hash": "h1", "scope": "enroll", "created_at": 10}
    return Token(**{**values, **changed})


def enrol(store: Store, name: str, **changed: Any) -> Device:
    key = Key(name, f"key-{name}", "public", "accepted", 1, "t1", "")
    values: dict[str, Any] = {
        "device": name,
        "state": "accepted",
        "labels": {"line": "press"},
        "key_id": key.key_id,
        "epoch": 1,
        "enrolled_at": 10,
    }
    device = Device(**{**values, **changed})
    store.devices.enrol(name, key.key_id, "h1", lambda _facts: EnrolmentPlan(key, device))
    return device


def a_report(name: str, seq: int = 1, **changed: Any) -> NewReport:
    values: dict[str, Any] = {
        "device": name,
        "key_id": f"key-{name}",
        "epoch": 1,
        "seq": seq,
        "report": f"{seq:064x}",
        "statement": STATEMENT,
        "seen_at": 1000,
        "received_at": 1001,
        "clock_offset": -3,
        "hardware": "",
        "readings": "{}",
        "results": "{}",
    }
    return NewReport(**{**values, **changed})


def receive(store: Store, *batch: NewReport, receipt: str = "stored") -> list[Received]:
    return store.reports.receive(batch, lambda _device, _new: receipt)  # type: ignore[arg-type,return-value]
