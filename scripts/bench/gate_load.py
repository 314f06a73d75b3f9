"""A gate over many devices in 400 environments: judged before, never seen, and a cohort of a tenth."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import requests
from fleet import populate, sample_result
from stores import RELEASE, Place, bound, put_objects

from envcheck.contract.document import document_digest
from envcheck.contract.fingerprint import Fingerprint, fingerprint_objects
from envcheck_server.store.values import Statement

ENVIRONMENTS = 400
_AGAIN = 5


def measure_gate(place: Place, devices: int) -> dict[str, Any]:
    """Fill a fresh store with `devices` devices, ask the gate of a collector just started, and again."""
    began = time.perf_counter()
    place.prepare(lambda store: fill(store, place, devices) if place.bundle else None)
    filled = time.perf_counter() - began
    found: dict[str, Any] = {"devices": devices, "environments": ENVIRONMENTS, "filling_s": filled}
    token = place.token("gate:read")
    with place.collector() as (process, host, port):

        def ask(cohort: str) -> tuple[float, dict[str, Any]]:
            question = {"format": "envcheck.gate-question/1.0", "release": RELEASE, "cohort": cohort}
            begun = time.perf_counter()
            answer = requests.post(
                f"http://{host}:{port}/v1/gate",
                json=question,
                headers={"Authorization": f"Bearer {token}"},
                timeout=120,
            )
            answer.raise_for_status()
            return time.perf_counter() - begun, answer.json()

        found["never_seen_s"], answer = ask("")
        found["total"], found["ready"] = answer["total"], answer["ready"]
        found["judged_s"] = min(ask("")[0] for _ in range(_AGAIN))
        seconds, answer = ask("tenth=3")
        found["tenth_total"] = answer["total"]
        found["tenth_s"] = min(seconds, *(ask("tenth=3")[0] for _ in range(_AGAIN)))
        found["memory_mib"] = place.memory(process)
    found["bytes_per_device"] = round(place.look(lambda store: store.stats()["bytes"]) / devices)
    return found


def fill(store: Any, place: Place, devices: int) -> None:
    """Write environments that differ in one package's version, evidence of each, and the devices."""
    training, evidence = place.state()
    fingerprints = [_variant(training, number) for number in range(ENVIRONMENTS)]
    proofs = [bound(evidence, place.bundle, one) for one in fingerprints]
    put_objects(store, fingerprints, proofs)
    statements = [
        Statement(
            id=number * 7_919_000_003,
            fingerprint=fingerprint_objects(one.sections)[0],
            evidence={place.bundle: document_digest(proof)},
        )
        for number, (one, proof) in enumerate(zip(fingerprints, proofs, strict=True))
    ]
    result = msgspec.to_builtins(sample_result("", int(time.time())))
    result.pop("evidence", None)
    populate(store, devices, statements, json.dumps({place.bundle: result}), '{"memory.available_mib":3411}')


def _variant(training: Fingerprint, number: int) -> Fingerprint:
    section = training.sections["packages"]
    packages = {**section.shared, "certifi": {"version": f"2026.{number // 12}.{number % 12 + 1}"}}
    changed = msgspec.structs.replace(section, shared=packages)
    return msgspec.structs.replace(training, sections={**training.sections, "packages": changed})
