"""Pruning: what is old goes, what anything refers to stays, also while reports come in."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.store_rows import a_report, enrol, receive

from envcheck_server.store.common import SqlStore
from envcheck_server.store.opening import open_store
from envcheck_server.store.values import FindingsKey, Statement

DAY = 86_400
LATE = 100 * DAY


def a_statement(number: int) -> Statement:
    return Statement(number, f"f{number:063}", {"b" * 64: f"e{number:063}"})


def deliver(store: SqlStore, number: int, now: int = 20) -> None:
    """Store all that a statement refers to; its section is shared with its neighbour."""
    store.objects.put(f"f{number:063}", "fingerprint", b"{}", [f"5{number // 2:063}"], now)
    store.objects.put(f"5{number // 2:063}", "section", b"{}", [], now)
    store.objects.put(f"e{number:063}", "evidence", b"{}", [], now)


def state(store: SqlStore, device: str, seq: int, number: int, at: int) -> list[str]:
    return receive(store, a_report(device, seq, statement=a_statement(number), received_at=at))[0].missing


def test_what_nobody_states_any_more_goes_with_the_history(store: SqlStore) -> None:
    for name in ("a", "b"):
        enrol(store, name)
    for seq, number in enumerate((0, 1, 2), 1):
        deliver(store, number)
        assert state(store, "a", seq, number, 10 * DAY * seq) == []
    state(store, "b", 1, 1, DAY)
    store.objects.put("0" * 64, "section", b"nobody's", [], 20)
    store.objects.put("1" * 64, "section", b"nobody's, but young", [], LATE)
    pruned = store.prune(history_before=25 * DAY, evidence_before=LATE)
    assert (pruned.changes, pruned.statements) == (2, 1), "b keeps the change that it is at"
    assert pruned.objects == 3, "a fingerprint, its evidence, and what was nobody's"
    assert store.objects.absent([f"f{1:063}", f"f{2:063}", f"e{1:063}", f"e{2:063}", "1" * 64]) == []
    assert set(store.reports.statements([0, 1, 2])) == {1, 2}
    counts = store.stats()
    assert (counts["changes"], counts["object_links"]) == (2, 2)
    assert store.prune(history_before=25 * DAY, evidence_before=LATE).objects == 0


def test_evidence_of_history_alone_goes_by_age_and_its_facts_stay(store: SqlStore) -> None:
    enrol(store, "a")
    for seq in (1, 2):
        deliver(store, seq, now=20 * seq)
        state(store, "a", seq, seq, 10 * DAY)
    assert store.prune(history_before=0, evidence_before=20).objects == 0
    assert store.prune(history_before=0, evidence_before=21).objects == 1
    assert store.objects.absent([f"e{1:063}", f"f{1:063}"]) == [f"e{1:063}"]
    assert store.stats()["changes"] == 2


def test_a_device_that_comes_back_is_asked_for_what_was_pruned(store: SqlStore, place: Path | str) -> None:
    """A collector remembers what is complete; another process prunes beside it."""
    enrol(store, "a")
    deliver(store, 1)
    assert state(store, "a", 1, 1, DAY) == []
    deliver(store, 4)
    state(store, "a", 2, 4, DAY)
    other = open_store(place)
    assert other.prune(LATE, LATE).statements == 1
    other.close()
    assert state(store, "a", 3, 1, DAY) == [f"e{1:063}", f"f{1:063}"]
    deliver(store, 1)
    assert state(store, "a", 4, 1, DAY) == []
    assert set(store.reports.statements([1])) == {1}


def test_a_refused_report_makes_nothing_known(store: SqlStore) -> None:
    """What it refers to may be here already, but its statement is not: whoever makes it next brings it."""
    enrol(store, "a")
    deliver(store, 1)
    receive(store, a_report("a", 1, statement=a_statement(1)), receipt="older")
    receive(store, a_report("a", 1, statement=a_statement(1)))
    assert set(store.reports.statements([1])) == {1}


def test_labels_and_findings_of_what_is_gone_go_too(store: SqlStore) -> None:
    enrol(store, "a", labels={"line": "press"})
    enrol(store, "a", labels={"line": "lab"})
    deliver(store, 1)
    kept, gone = (FindingsKey("b" * 64, f"f{number:063}", "", "p", 1) for number in (1, 2))
    store.releases.put_findings({kept: b"[]", gone: b"[]"}, 40)
    pruned = store.prune(0, 41)
    assert pruned.label_sets == 1
    assert store.prune(0, 41).label_sets == 0
    found = store.devices.find("a")
    assert found is not None
    assert found.labels == {"line": "lab"}
    assert set(store.releases.findings([kept, gone])) <= {kept}


PRUNING = """
import sys, time
from pathlib import Path
from envcheck_server.store.opening import open_store
place = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
store = open_store(place)
print("ready", flush=True)
removed = rounds = 0
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    pruned = store.prune(10**9, 10**9)
    removed += pruned.objects + pruned.statements
    rounds += 1
print(removed, rounds)
"""


@pytest.mark.parametrize("seconds", [2.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_what_a_stored_report_refers_to_never_vanishes(place: Path | str, seconds: float) -> None:
    """Devices move between few environments, deliver what they are asked for, and are held to the answer.

    Another process takes away, as fast as it can and whatever its age, all that nothing refers to.
    """
    stores = [open_store(place) for _ in range(2)]
    for number in range(6):
        enrol(stores[0], f"d-{number}")
    pruner = subprocess.Popen(
        [sys.executable, "-c", PRUNING, str(place), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert pruner.stdout is not None
    assert pruner.stdout.readline() == "ready\n"
    faults: list[str] = []
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=live, args=(stores[number % 2], f"d-{number}", until, faults))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    removed, rounds = (int(word) for word in pruner.communicate(timeout=60)[0].split())
    assert faults == []
    assert removed > 0, f"nothing was pruned in {rounds} rounds: nothing was tested"
    for store in stores:
        store.close()


def live(store: SqlStore, device: str, until: float, faults: list[str]) -> None:
    rng, seq = random.Random(device), 0
    try:
        while time.monotonic() < until:
            number = rng.randrange(8)
            seq += 1
            missing = state(store, device, seq, number, DAY)
            if not missing:
                whole = store.objects.absent(a_statement(number).objects())
                if whole or number not in store.reports.statements([number]):
                    faults.append(f"{device} {seq}: told that all is here, but {whole} is not")
                continue
            deliver(store, number)
            seq += 1
            left = state(store, device, seq, number, DAY)
            if left:
                faults.append(f"{device} {seq}: delivered {missing}, and then {left} is gone")
    except Exception as error:
        faults.append(f"{device} {seq}: {error!r}")
        raise
