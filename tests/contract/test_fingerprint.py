"""A fingerprint's digest changes with what devices of one image share, and with nothing else."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.documents import JSON, NAMES, documents

from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.document import decode
from envcheck.contract.fingerprint import (
    SECTION_NAMES,
    Fingerprint,
    Section,
    SectionDigests,
    SharedSection,
    fingerprint_objects,
    make_fingerprint,
    only_shared,
    shared_fingerprint,
)

FACTS = st.dictionaries(NAMES, JSON, max_size=4)
SECTIONS = st.dictionaries(st.sampled_from(SECTION_NAMES), documents(Section), min_size=1, max_size=4)


def name_of(sections: dict[str, Section]) -> str:
    return fingerprint_objects(sections)[0]


@given(SECTIONS, FACTS, FACTS, st.floats(0, 1e6))
def test_device_facts_readings_and_durations_change_nothing(
    sections: dict[str, Section], device: dict[str, Any], readings: dict[str, Any], duration: float
) -> None:
    changed = {
        name: msgspec.structs.replace(section, device=device, readings=readings, duration_ms=duration)
        for name, section in sections.items()
    }
    assert fingerprint_objects(changed) == fingerprint_objects(sections)


@given(SECTIONS, st.data())
def test_every_shared_fact_counts(sections: dict[str, Section], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(sections)))
    facts = data.draw(FACTS)
    assume(canonical_json(facts) != canonical_json(sections[name].shared))
    changed = {**sections, name: msgspec.structs.replace(sections[name], shared=facts)}
    assert name_of(changed) != name_of(sections)


@given(SECTIONS, st.sampled_from(["status", "reason"]), st.data())
def test_status_and_reason_count(sections: dict[str, Section], field: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(sections)))
    other = data.draw(st.sampled_from(["ok", "absent", "unreadable", "error", "skipped"]))
    assume(other != getattr(sections[name], field))
    changed = {**sections, name: msgspec.structs.replace(sections[name], **{field: other})}
    assert name_of(changed) != name_of(sections)


@given(SECTIONS, st.data())
def test_a_missing_section_and_one_under_another_name_count(
    sections: dict[str, Section], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(sections)))
    rest = {key: section for key, section in sections.items() if key != name}
    assert name_of(rest) != name_of(sections)
    assert name_of({**rest, "renamed": sections[name]}) != name_of(sections)


@given(SECTIONS, st.randoms(use_true_random=False))
def test_the_order_of_sections_and_of_facts_never_matters(
    sections: dict[str, Section], rng: random.Random
) -> None:
    def shuffled(mapping: dict[str, Any]) -> dict[str, Any]:
        return dict(rng.sample(list(mapping.items()), len(mapping)))

    changed = {
        name: msgspec.structs.replace(section, shared=shuffled(section.shared))
        for name, section in shuffled(sections).items()
    }
    assert name_of(changed) == name_of(sections)


@given(SECTIONS)
def test_the_objects_are_all_that_is_needed_to_read_it_again(sections: dict[str, Section]) -> None:
    name, objects = fingerprint_objects(sections)
    assert all(digest(data) == key for key, data in objects.items())
    assert len(objects) == len(sections) + 1
    found = decode(objects[name], SectionDigests, "x").sections
    read = {key: decode(objects[value], SharedSection, "x") for key, value in found.items()}
    whole = shared_fingerprint(make_fingerprint(sections, "2026-01-01T00:00:00Z", "1"))
    assert (whole.digest, whole.sections) == (name, read)
    assert all(section.name == key for key, section in read.items())


@given(documents(Fingerprint))
def test_a_claimed_digest_is_never_believed(claimed: Fingerprint) -> None:
    assert shared_fingerprint(claimed).digest == name_of(claimed.sections)
    assert only_shared(claimed).digest == name_of(claimed.sections)


@given(documents(Fingerprint))
def test_only_shared_drops_what_tells_devices_apart(fingerprint: Fingerprint) -> None:
    kept = only_shared(fingerprint)
    assert name_of(kept.sections) == name_of(fingerprint.sections)
    assert not any(section.device or section.readings for section in kept.sections.values())
    assert [section.shared for section in kept.sections.values()] == [
        section.shared for section in fingerprint.sections.values()
    ]


def test_absent_and_unreadable_and_empty_are_three_things() -> None:
    names = {name_of({"cuda": Section(status=status)}) for status in ("ok", "absent", "unreadable")}  # type: ignore[arg-type]
    assert len(names) == 3


@pytest.mark.parametrize(
    "facts", [({"a": 1}, {"a": 1.0}), ({"a": True}, {"a": 1}), ({"a": None}, {}), ({"a": "1"}, {"a": 1})]
)
def test_facts_of_another_type_are_other_facts(facts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, other = ({"cpu": Section(status="ok", shared=shared)} for shared in facts)
    assert name_of(one) != name_of(other)


def test_the_digest_is_what_it_was() -> None:
    """A change of this figure makes every stored fingerprint another one: it needs a new major version."""
    sections = {
        "python": Section(status="ok", shared={"version": "3.11.7", "bits": 64}),
        "cuda": Section(status="absent", reason="no NVIDIA device"),
    }
    python = (
        b'{"facts":{"bits":64,"version":"3.11.7"},'
        b'"format":"envcheck.section/1.0","name":"python","status":"ok"}'
    )
    cuda = b'{"format":"envcheck.section/1.0","name":"cuda","reason":"no NVIDIA device","status":"absent"}'
    both = b'{"format":"envcheck.fingerprint-digests/1.0","sections":{"cuda":"%s","python":"%s"}}' % (
        digest(cuda).encode(),
        digest(python).encode(),
    )
    assert set(fingerprint_objects(sections)[1].values()) == {python, cuda, both}
    assert name_of(sections) == "d67bb1ecc0099e618dd868ea470a292beb2bbf07b939ff9d5e3992310ce97b3b"
