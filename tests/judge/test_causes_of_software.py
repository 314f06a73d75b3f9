"""The causes that lie in providers, endings and packages, in the words that people read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.builders import evidence, package, reference, sections, shared
from support.causes import CPU, CUDA, DEFAULT, GPU_ORT, ORT, ok, on_gpu, why

from envcheck.contract.baseline import Graph, SmokeReadings
from envcheck.contract.evidence import Ending, Evidence, Placement, Runtime
from envcheck.contract.fingerprint import Section, SharedFingerprint
from envcheck.contract.verdict import Finding
from envcheck.judge.judge import judge
from envcheck.judge.reference import Reference


class TestProviders:
    placement = Placement(source="assignment", nodes={CPU: {"MatMul": 3}})

    def lost(self, cuda: Section, runtime: dict[str, Any] = GPU_ORT, why_not: str = "") -> Finding:
        device = shared(cuda=cuda, onnxruntime=ok(**runtime))
        fallbacks = {CUDA: why_not} if why_not else {}
        return why(
            "evidence.placement",
            on_gpu(),
            device,
            registered=[CPU],
            placement=self.placement,
            fallbacks=fallbacks,
        )

    def test_a_missing_library_is_named_with_what_brings_it(self) -> None:
        present = ok(driver="550.54", driver_cuda="12.4")
        finding = self.lost(present, why_not="the library libcudnn.so.9 is missing")
        assert finding.cause == f"{CUDA} did not start: the library libcudnn.so.9 is missing"
        assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in finding.hint

    def test_a_driver_older_than_the_build(self) -> None:
        finding = self.lost(ok(driver="470.1", driver_cuda="11.4"))
        assert finding.cause == (
            "the driver is older than the build: onnxruntime is built for CUDA 12.8, the driver supports "
            "only 11.4"
        )
        untold = self.lost(ok(driver="470.1"))
        assert "needs a driver of 525.60.13 at least: this one is 470.1" in untold.cause

    def test_no_gpu(self) -> None:
        absent = Section(status="absent", reason="there is no NVIDIA device node")
        finding = self.lost(absent, why_not="libcublasLt.so.12")
        assert finding.cause == (
            f"{CUDA} did not start: there is no NVIDIA GPU (there is no NVIDIA device node), and the library "
            "libcublasLt.so.12 is missing"
        )

    def test_a_gpu_that_may_not_be_opened(self) -> None:
        finding = self.lost(Section(status="unreadable", reason="this process may not open them"))
        assert "may not open them" in finding.cause

    def test_a_build_without_it(self) -> None:
        finding = self.lost(ok(driver="550.54", driver_cuda="12.4"), ORT)
        assert finding.cause == f"onnxruntime is a build without {CUDA}"
        assert finding.hint == "pip uninstall -y onnxruntime, then pip install onnxruntime-gpu==1.23.2"

    def test_where_nothing_is_known_what_the_log_says_is_told(self) -> None:
        finding = self.lost(ok(driver="550.54", driver_cuda="12.4"), why_not="no such device")
        assert finding.cause == "no such device"


class TestEndings:
    def ended(self, device: SharedFingerprint, held_to: Reference | None = None, **ending: Any) -> Finding:
        values = {"status": "error", "stage": "session", "reason": "it ended", "hint": "old", **ending}
        measured: Evidence = evidence(
            device, ending=Ending(**values), outputs={}, runtime=Runtime(python="", onnxruntime="")
        )
        findings = judge(held_to or reference(), device, measured, DEFAULT)
        return next(one for one in findings if one.path == "evidence.ending")

    def test_an_illegal_instruction_names_what_the_cpu_lacks(self) -> None:
        device = shared(cpu=ok(isa=["sse4_2"]))
        finding = self.ended(device, status="crash", stage="import", signal=4)
        assert finding.cause == (
            "an instruction set is missing: this CPU has no avx2, avx512_vnni, training's has"
        )
        assert finding.hint != "old"

    def test_an_illegal_instruction_on_a_cpu_that_tells_all_flags(self) -> None:
        finding = self.ended(shared(), status="crash", stage="import", signal=4)
        assert "masked or emulated" in finding.cause

    def test_another_signal_is_no_missing_instruction(self) -> None:
        assert self.ended(shared(), status="crash", stage="run", signal=11).cause == ""

    NEW = Graph(sha256="a" * 64, size=1, ir_version=11, opsets={"": 23})

    @pytest.mark.parametrize(
        ("python", "mend"),
        [
            ("3.11.7", "pip install 'onnxruntime>=1.23.0', or export the model with opset 21"),
            ("3.10.13", "pip install 'onnxruntime>=1.23.0', or export the model with opset 21"),
            (
                "3.8.18",
                (
                    "Python 3.8 can have none that does: serve with Python 3.10 or newer, or export the "
                    "model with opset 21"
                ),
            ),
        ],
    )
    def test_an_opset_that_is_too_new(self, python: str, mend: str) -> None:
        device = shared(
            python=ok(version=python, implementation="cpython"),
            onnxruntime=ok(version="1.19.2", flavours={"onnxruntime": "1.19.2"}),
        )
        finding = self.ended(device, reference(graph=self.NEW))
        assert finding.cause == "the model needs opset 23; onnxruntime 1.19.2 supports up to 21"
        assert finding.hint == mend

    def test_numpy_2_beside_an_onnxruntime_for_numpy_1(self) -> None:
        device = shared(
            onnxruntime=ok(version="1.16.3"),
            packages=ok(numpy=package("2.4.6"), onnxruntime=package("1.16.3")),
        )
        finding = self.ended(device, stage="import")
        assert finding.cause == "onnxruntime 1.16 was built for numpy 1, and numpy 2.4 is there"

    def test_memory(self) -> None:
        device = shared(memory=ok(total_mib=4096, limit_mib=256))
        held_to = reference(readings=SmokeReadings(peak_memory_mb=700.0))
        finding = self.ended(device, held_to, status="memory", stage="run")
        assert finding.cause == (
            "memory does not suffice: the model needed 700 MB in training, and this device gives 256 MiB"
        )
        assert finding.hint == "old", "what the smoke process said mends it stays where there is no better"

    def test_more_memory_than_training_ever_needed(self) -> None:
        held_to = reference(readings=SmokeReadings(peak_memory_mb=60.0))
        finding = self.ended(shared(), held_to, status="memory", stage="run")
        assert finding.cause == (
            "memory does not suffice, though training needed 60 MB and this device gives 4096 MiB: another "
            "model asks for more, or the process is limited to less"
        )

    def test_a_damaged_installation(self) -> None:
        reason = "ImportError: cannot import name 'onnxruntime_validation' from 'onnxruntime.capi'"
        finding = self.ended(shared(), stage="import", reason=reason)
        assert finding.cause.startswith("onnxruntime 1.32.0 is installed, but not whole")
        assert finding.hint == "pip install --force-reinstall --no-deps onnxruntime==1.32.0"
        numpy = self.ended(shared(), stage="import", reason="ImportError: import numpy failed")
        assert numpy.hint == "pip install --force-reinstall --no-deps numpy==2.4.6"

    def test_an_older_onnxruntime_that_has_no_such_kernel(self) -> None:
        device = shared(
            python=ok(version="3.8.18", implementation="cpython"),
            onnxruntime=ok(version="1.16.3", flavours={"onnxruntime": "1.16.3"}),
            packages=ok(numpy=package("1.24.4"), onnxruntime=package("1.16.3")),
        )
        finding = self.ended(device, reason="this onnxruntime has no kernel for ConvInteger (opset 10)")
        assert finding.cause == "onnxruntime 1.16.3 does not run what 1.32.0 ran in training"
        assert finding.hint == (
            "serve the model with Python 3.11 to 3.14: Python 3.8 can have onnxruntime 1.19.2 at most"
        )

    def test_no_wheel_for_this_python(self) -> None:
        device = shared(
            python=ok(version="3.9.18", implementation="cpython"),
            onnxruntime=Section(status="absent", reason="not installed"),
        )
        finding = self.ended(device, stage="import")
        assert finding.cause == "Python 3.9 can't have onnxruntime 1.32.0, which training had"
        assert finding.hint.startswith("serve the model with Python 3.11 to 3.14")

    def test_a_quota_below_one_cpu(self) -> None:
        device = shared(cpu=ok(isa=sections()["cpu"].shared["isa"], quota=0.25))
        assert self.ended(device, status="timeout", stage="run").cause == (
            "the control group grants 0.25 of a CPU"
        )


class TestPackages:
    @pytest.mark.parametrize(
        ("python", "cause", "hint"),
        [
            ("3.11.7", "", "pip install numpy==2.4.6"),
            (
                "3.8.18",
                "Python 3.8 can't have numpy 2.4.6",
                "serve the model with Python 3.11 to 3.14: Python 3.8 can have numpy 1.24.4 at most",
            ),
        ],
    )
    def test_a_hint_is_one_that_can_be_followed(self, python: str, cause: str, hint: str) -> None:
        device = shared(
            python=ok(version=python, implementation="cpython"),
            packages=ok(numpy=package("1.24.4"), onnxruntime=package("1.32.0"), rich=package("15.0.0")),
        )
        findings = judge(reference(), device, evidence(device), DEFAULT)
        finding = next(one for one in findings if one.path == "packages.numpy.version")
        assert (finding.cause, finding.hint) == (cause, hint)

    def test_a_version_that_is_too_old_for_the_python(self) -> None:
        training = shared(packages=ok(numpy=package("1.24.4")))
        device = shared(
            python=ok(version="3.13.0", implementation="cpython"), packages=ok(numpy=package("2.4.6"))
        )
        held_to = msgspec.structs.replace(reference(), training=training)
        findings = judge(held_to, device, evidence(device), DEFAULT)
        finding = next(one for one in findings if one.path == "packages.numpy.version")
        assert finding.hint == (
            "serve the model with Python 3.8 to 3.11: Python 3.13 has none older than numpy 2.1.0"
        )

    def test_one_that_is_not_installed_can_be(self) -> None:
        device = shared(packages=ok(onnxruntime=package("1.32.0")))
        findings = judge(reference(), device, evidence(device), DEFAULT)
        finding = next(one for one in findings if one.path == "packages.numpy.version")
        assert finding.hint == "pip install numpy==2.4.6"
