from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.builders import sections
from support.documents import JSON

from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, Section, make_fingerprint
from envcheck.output.capture import headline, print_capture, summary
from envcheck.output.remarks import remarks


def printed(found: Fingerprint, *, whole: bool = False) -> str:
    out = io.StringIO()
    print_capture(found, Console(file=out, width=100, markup=False, highlight=False), whole=whole)
    return out.getvalue()


def made(changed: dict[str, Section]) -> Fingerprint:
    return make_fingerprint(sections(**changed), "2026-01-01T00:00:00Z", "0")


DIGEST = re.compile(r"^fingerprint [0-9a-f]{64}$", re.MULTILINE)


def test_it_ends_with_the_digest_that_names_it_and_what_to_do_next() -> None:
    found = made({})
    calm = "nothing looks wrong; next: envcheck check BUNDLE, or envcheck capture --json"
    assert printed(found).endswith(f"\nfingerprint {found.digest}\n{calm}\n")


def test_what_was_not_looked_at_is_not_called_right() -> None:
    text = printed(made({"python": Section(status="skipped", reason="there is no interpreter here")}))
    assert "nothing looks wrong;" not in text
    assert text.rstrip().endswith("wrong so far; next: name what serves the model with --python EXE")


def test_what_looks_wrong_has_its_own_hints() -> None:
    found = made({"cpu": Section(status="unreadable", reason="no rights")})
    text = printed(found)
    assert "nothing looks wrong" not in text
    assert text.endswith(f"\nfingerprint {found.digest}\n")


def ok(shared: dict[str, Any], device: Any = None, readings: Any = None) -> Section:
    return Section(status="ok", shared=shared, device=device or {}, readings=readings or {})


FILES = {kind: {"count": 2, "names": ["x.py", "y.py"]} for kind in ("modified", "missing", "extra", "unread")}
EVERYTHING_WRONG = {
    "python": Section(status="skipped", reason="it is built for riscv64"),
    "packages": ok(
        {"a": {"broken": "it has no RECORD"}, "b": {"version": "1", "shadowed": [{"version": "2"}]}},
        {"verified": {"complete": False, "files": 3, "found": [{"file": "a.dist-info", **FILES}]}},
    ),
    "system": ok(
        {"kernel": "6.1"},
        readings={
            "clock_synchronised": False, "slowed_by": ["under-voltage"], "disks": {"/": {"free_mib": 3}},
        },
    ),
    "cpu": ok(
        {
            "isa": ["avx2"], "quota": 1, "affinity": 4, "governors": ["powersave"], "max_mhz": [1479],
            "frequency_driver": "cpufreq-dt", "offline": "2-3", "contradictions": [
                {"source": "cpuid", "only_here": ["avx"]}, {"source": "auxv", "only_in_cpuinfo": ["sve"]},
            ],
        },
        readings={"limit_mhz": [918]},
    ),
    "memory": ok({"total_mib": 4096}, {"limits": {"as": 4 << 30}}),
    "onnxruntime": ok({
        "cuda": "12.8", "conflicts": ["two flavours", "files of another", "CUDA 11 and 12 at once"],
        "libraries": {"libonnxruntime_providers_cuda.so": {"needs": ["libcublas.so.12", "libcudnn.so.9"]}},
    }),
    "cuda": ok(
        {
            "driver_cuda": "11.4", "torch": {"cuda": "12.6"},
            "gpus": [{"name": "A100", "mig": True, "compute_mode": "prohibited"}],
        },
        readings={"slowed_by": ["power cap"]},
    ),
    "variables": Section(status="unreadable", reason="its environment file may not be read"),
}  # fmt: skip


def test_with_everything_wrong_it_is_still_one_screen() -> None:
    """Forty lines of a hundred columns; every section has its say, and the rest is counted."""
    found = made(EVERYTHING_WRONG)
    text = printed(found)
    assert len(text.splitlines()) <= 40
    wrong = text.partition("looks wrong already\n")[2]
    assert {line.split()[1] for line in wrong.splitlines() if line.startswith("warn")} > set(EVERYTHING_WRONG)
    everything = [remark.text for remark in remarks(found)]
    shown = [text for text in everything if text in " ".join(wrong.split())]
    assert f"{len(everything) - len(shown)} more" in wrong
    whole = " ".join(printed(found, whole=True).split())
    assert [text for text in everything if text not in whole] == []
    assert "all of them:" not in whole


@pytest.mark.parametrize("terminal", [False, True])
def test_no_line_ends_in_blanks(terminal: bool) -> None:
    long = "a reason that is longer than what fits into one line of the screen, 分の " * 4
    found = made({"cpu": Section(status="error", reason=long), "memory": Section(status="error", reason="x")})
    out = io.StringIO()
    print_capture(found, Console(file=out, width=100, force_terminal=terminal, color_system="standard"))
    plain = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert [line for line in plain.split("\n") if line != line.rstrip()] == []
    assert DIGEST.search(plain)
    assert " ".join(long.split()) in " ".join(plain.split())


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
