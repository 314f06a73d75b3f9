from __future__ import annotations

from typing import Any

import pytest
from support.builders import sections

from envcheck.contract.fingerprint import Fingerprint, Section, make_fingerprint
from envcheck.output.remarks import remarks


def fingerprint(**changed: Section) -> Fingerprint:
    return make_fingerprint(sections(**changed), "2026-01-01T00:00:00Z", "0")


def ok(**shared: Any) -> Section:
    return Section(status="ok", shared=shared)


def said(found: Fingerprint) -> str:
    return "\n".join(f"{remark.section}: {remark.text}" for remark in remarks(found))


def test_a_healthy_machine_has_nothing_remarked() -> None:
    assert said(fingerprint()) == ""


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cpu": ok(isa=["avx2"])}, "cpu: AVX2 without VNNI"),
        ({"cpu": ok(isa=[], quota=1.5, affinity=4)}, "cpu: the control group grants 1.5 CPUs of the 4"),
        ({"cpu": Section(status="error", reason="it failed with X")}, "cpu: error: it failed with X"),
        ({"cuda": Section(status="unreadable", reason="no rights")}, "cuda: unreadable: no rights"),
        (
            {"system": Section(status="ok", readings={"clock_synchronised": False})},
            "system: the clock is not synchronised",
        ),
        ({"packages": ok(numpy={"version": "1", "broken": "it has no RECORD"})}, "numpy (it has no RECORD)"),
        (
            {"packages": ok(numpy={"version": "1", "shadowed": [{"version": "2"}]})},
            "packages: another version is hidden",
        ),
        (
            {"onnxruntime": Section(status="absent", reason="none")},
            "onnxruntime: nothing here can run a model",
        ),
        ({"onnxruntime": ok(conflicts=["two flavours"])}, "onnxruntime: two flavours"),
        ({"onnxruntime": ok(providers=["cuda"])}, "cuda: onnxruntime is built for CUDA, but there is no GPU"),
        (
            {"cuda": ok(driver_cuda="11.4", torch={"version": "2", "cuda": "12.6"})},
            "cuda: torch is built for CUDA 12.6, the driver supports only 11.4",
        ),
    ],
)
def test_what_looks_wrong_is_said(changed: dict[str, Section], expected: str) -> None:
    assert expected in said(fingerprint(**changed))


def test_every_remark_says_what_to_do_next() -> None:
    found = fingerprint(
        cpu=ok(isa=["avx2"], quota=1, affinity=4),
        cuda=ok(driver_cuda="11.4", torch={"cuda": "12.6"}),
        packages=ok(a={"broken": "x"}, b={"version": "1", "shadowed": [{"version": "2"}]}),
        onnxruntime=ok(conflicts=["two flavours"]),
        memory=Section(status="error", reason="x"),
    )
    assert len(remarks(found)) == 7
    assert all(remark.hint for remark in remarks(found))


@pytest.mark.parametrize("driver", ["12.2", "12.8", "13.0"])
def test_a_driver_of_the_same_major_version_is_no_fault(driver: str) -> None:
    assert said(fingerprint(cuda=ok(driver_cuda=driver, torch={"cuda": "12.6"}))) == ""


def test_an_equal_copy_elsewhere_is_no_fault() -> None:
    assert said(fingerprint(packages=ok(a={"version": "1", "shadowed": [{"version": "1"}]}))) == ""
