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


CUDA_12 = {"torch": {"version": "2", "cuda": "12.6"}}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"driver": "470.199.02", **CUDA_12},
            "which needs a driver of 525.60.13 at least: this one is 470.199.02",
        ),
        ({"driver": "525.60.11", **CUDA_12}, "525.60.13"),
        ({"driver": "525.60.13", **CUDA_12}, ""),
        ({"driver": "580.95.05", **CUDA_12}, ""),
        ({"driver": "470.199.02", "driver_cuda": "12.2", **CUDA_12}, ""),
        ({"driver": "470.57", "torch": {"cuda": "11.8"}}, ""),
        ({"driver": "575.57.08", "torch": {"cuda": "13.0"}}, "580.65.06"),
        ({"l4t": "32.7.1", **CUDA_12}, "L4T 32.7.1 has CUDA 10"),
        ({"l4t": "35.4.1", "driver": "35.4.1", **CUDA_12}, ""),
        ({"driver": "TempVersion", **CUDA_12}, ""),
        ({"driver": "1.2", "torch": {"cuda": "99.0"}}, ""),
    ],
)
def test_a_driver_too_old_for_what_was_built_for_cuda(facts: dict[str, Any], expected: str) -> None:
    found = said(fingerprint(cuda=ok(**facts)))
    assert expected in found
    assert bool(found) == bool(expected)


def test_what_onnxruntime_was_linked_against_counts_where_it_does_not_say() -> None:
    runtime = ok(needs={"cuda": ["9", "12"]}, providers=["cuda"])
    assert "onnxruntime is built for CUDA 12" in said(
        fingerprint(cuda=ok(driver_cuda="11.4"), onnxruntime=runtime)
    )


def linked(*needs: str) -> Section:
    return ok(libraries={"libonnxruntime_providers_cuda.so": {"needs": list(needs)}})


def test_libraries_that_the_loader_does_not_find() -> None:
    runtimes = {"libcublas.so.12": {"origin": "ld.so.cache"}, "libcudnn.so.8": {"origin": "ld.so.cache"}}
    needs = linked("libcublas.so.12", "libcudnn.so.9", "libc.so.6", "libstdc++.so.6")
    told = said(fingerprint(cuda=ok(runtimes=runtimes), onnxruntime=needs))
    assert "the loader finds no libcudnn.so.9:" in told
    found = {**runtimes, "libcudnn.so.9": {"origin": "LD_LIBRARY_PATH"}}
    assert said(fingerprint(cuda=ok(runtimes=found), onnxruntime=needs)) == ""
    packed = {**runtimes, "libcudnn.so.9": {"origin": "pip"}}
    assert "only pip's packages" in said(fingerprint(cuda=ok(runtimes=packed), onnxruntime=needs))
    own = {"needs": ["libcudnn.so.9"], "search": ["$ORIGIN/../../nvidia/cudnn/lib"]}
    looks = ok(libraries={"libonnxruntime_providers_cuda.so": own})
    assert said(fingerprint(cuda=ok(runtimes=packed), onnxruntime=looks)) == ""


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cuda": ok(gpus=[{"name": "A100", "mig": True}])}, "A100: MIG is on without a partition"),
        ({"cuda": ok(gpus=[{"compute_mode": "prohibited"}])}, "its compute mode forbids"),
        ({"cuda": ok(gpus=[{"mig": True, "partitions": [{"profile": "1g.5gb"}]}])}, ""),
        (
            {"cuda": Section(status="ok", readings={"slowed_by": ["power cap"]})},
            "the GPU is slowed down now: power cap",
        ),
        (
            {"cpu": ok(isa=[], contradictions=[{"source": "cpuid", "only_here": ["avx"]}])},
            "/proc/cpuinfo is contradicted: CPUID tells avx",
        ),
        (
            {"cpu": ok(isa=[], contradictions=[{"source": "auxv", "only_in_cpuinfo": ["sve"]}])},
            "/proc/cpuinfo alone tells sve",
        ),
        ({"cpu": ok(isa=[], governors=["powersave"], frequency_driver="cpufreq-dt")}, "lowest frequency"),
        ({"cpu": ok(isa=[], governors=["powersave"], frequency_driver="intel_pstate")}, ""),
        ({"cpu": ok(isa=[], offline="2-3")}, "processors 2-3 are offline"),
        (
            {"cpu": Section(status="ok", shared={"max_mhz": [1479]}, readings={"limit_mhz": [918]})},
            "limited to 918 of 1479 MHz",
        ),
        (
            {"memory": Section(status="ok", device={"limits": {"as": 4 << 30, "stack": 8}})},
            "the address space is limited to 4.0 GiB",
        ),
        (
            {"system": Section(status="ok", readings={"slowed_by": ["under-voltage", "throttled"]})},
            "the processor is slowed down now: under-voltage, throttled",
        ),
        (
            {"system": Section(status="ok", readings={"slowed_since_boot": ["throttled"]})},
            "the processor was slowed down since boot: throttled",
        ),
        (
            {
                "system": Section(
                    status="ok", readings={"disks": {"/": {"free_mib": 3}, "/x": {"free_mib": 999}}}
                )
            },
            "almost full: / (3 MiB left)",
        ),
    ],
)
def test_what_looks_wrong_with_the_hardware(changed: dict[str, Section], expected: str) -> None:
    found = said(fingerprint(**changed))
    assert expected in found
    assert bool(found) == bool(expected)


def test_facts_of_any_shape_are_looked_at() -> None:
    for value in (None, 3, "x", [], ["x"], [[]], {}, {"x": 3}, {"needs": 3}, [{"x": {}}]):
        parts = "gpus runtimes torch driver l4t contradictions governors max_mhz offline libraries needs"
        names = [*parts.split(" "), "cuda", "driver_cuda", "isa", "quota", "affinity"]
        odd = Section(
            status="ok",
            shared=dict.fromkeys(names, value),
            device={"limits": value},
            readings=dict.fromkeys(["slowed_by", "slowed_since_boot", "disks", "limit_mhz"], value),
        )
        assert isinstance(said(fingerprint(cuda=odd, cpu=odd, memory=odd, system=odd, onnxruntime=odd)), str)
