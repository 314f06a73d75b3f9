from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.builders import sections
from support.documents import JSON

from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, Section, make_fingerprint
from envcheck.output.capture import headline, print_capture, summary


def printed(found: Fingerprint) -> str:
    out = io.StringIO()
    print_capture(found, Console(file=out, width=100, markup=False, highlight=False))
    return out.getvalue()


def made(changed: dict[str, Section]) -> Fingerprint:
    return make_fingerprint(sections(**changed), "2026-01-01T00:00:00Z", "0")


def test_it_ends_with_the_digest_that_names_it() -> None:
    found = made({})
    assert printed(found).rstrip().endswith(f"fingerprint {found.digest}")


def test_a_section_that_is_not_ok_says_why() -> None:
    assert summary("cpu", Section(status="unreadable", reason="no rights")) == "no rights"


def test_the_headline_names_the_machine() -> None:
    system = Section(
        status="ok",
        shared={"board": {"vendor": "V", "model": "M"}, "os": {"name": "Debian"}},
        device={"hostname": "press-07"},
    )
    assert headline(made({"system": system})) == "press-07: V M, Debian"
    assert headline(make_fingerprint({}, "2026-01-01T00:00:00Z", "0")) == "this machine"


def test_gpus_are_counted_and_their_partitions_named() -> None:
    gpu = {"name": "NVIDIA A100"}
    parted = {**gpu, "mig": True, "partitions": [{"profile": "3g.40gb"}, {"profile": "2g.20gb"}]}
    section = Section(status="ok", shared={"gpus": [gpu, gpu, parted], "driver": "535.1"})
    assert summary("cuda", section) == "2 x NVIDIA A100, NVIDIA A100 (MIG 3g.40gb 2g.20gb), driver 535.1"
    unnamed = Section(status="ok", shared={"gpus": [{**gpu, "partitions": [{}, {}]}]})
    assert summary("cuda", unnamed) == "NVIDIA A100 (MIG 2 parts)"


def test_strings_of_the_device_are_inert() -> None:
    payload = "\x1b]0;owned\x07[red]\u202e"
    hostile: dict[str, Any] = dict.fromkeys(("model", "version", "kernel", "driver", "machine"), payload)
    changed = {
        name: Section(status="ok", shared=hostile, device={"hostname": payload, "prefix": payload})
        for name in SECTION_NAMES
    }
    text = printed(made({**changed, "memory": Section(status="error", reason=payload)}))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]" in text


KEYS = (
    "os board libc isa gpus values flavours providers torch conflicts quota affinity total_mib swap_mib "
    "governors numpy uptime_s driver_cuda cuda available_mib limit_mib broken shadowed"
)
FACTS = st.dictionaries(st.sampled_from(KEYS.split()), JSON)


@given(st.sampled_from(SECTION_NAMES), FACTS, FACTS)
def test_a_document_from_elsewhere_is_shown_whatever_it_holds(
    name: str, shared: dict[str, Any], readings: dict[str, Any]
) -> None:
    assert printed(made({name: Section(status="ok", shared=shared, readings=readings)}))
