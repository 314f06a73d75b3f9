"""What is known before anything is run: opsets, memory, and an onnxruntime that is not one whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.builders import evidence, reference, shared

from envcheck.contract.baseline import Graph, SmokeReadings
from envcheck.contract.evidence import Ending, Runtime
from envcheck.contract.fingerprint import Section, SharedFingerprint
from envcheck.contract.opsets import oldest_for, supported, too_new
from envcheck.contract.verdict import Finding
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy
from envcheck.judge.wheels import can_have, install_hint, pythons_for

INVENTORY, DEFAULT = builtin_policy("inventory"), builtin_policy("default")


def with_ort(version: str, **facts: Any) -> SharedFingerprint:
    return shared(onnxruntime=Section(status="ok", shared={"version": version, **facts}))


def graph(opset: int = 17, ir: int = 8) -> Graph:
    return Graph(sha256="a" * 64, size=1, ir_version=ir, opsets={"": opset, "com.microsoft": 1})


def at(findings: list[Finding], path: str) -> list[Finding]:
    return [one for one in findings if one.path == path]


class TestOpsets:
    """Measured on the wheels of each release with a graph of one node."""

    @pytest.mark.parametrize(
        ("version", "opset", "ir"),
        [
            ("1.16.3", 19, 9),
            ("1.17.3", 20, 9),
            ("1.19.2", 21, 10),
            ("1.20.1", 21, 10),
            ("1.22.1", 22, 10),
            ("1.23.2", 23, 11),
            ("1.24.4", 25, 13),
            ("1.31.0", 26, 13),
            ("1.32.0", 28, 14),
        ],
    )
    def test_the_newest_that_each_release_loads(self, version: str, opset: int, ir: int) -> None:
        assert supported(version) == (opset, ir)
        assert too_new(graph(opset, ir), version) == ""
        assert "opset" in too_new(graph(opset + 1, ir), version)
        assert "IR version" in too_new(graph(opset, ir + 1), version)

    @pytest.mark.parametrize("version", ["1.33.0", "2.0", "", "newest"])
    def test_what_is_not_known_is_not_called_too_new(self, version: str) -> None:
        assert too_new(graph(99, 99), version) == ""

    def test_what_is_older_than_the_table_supports_no_more(self) -> None:
        assert too_new(graph(20), "1.10.0") != ""

    def test_the_oldest_that_loads_it(self) -> None:
        assert (oldest_for(graph(17)), oldest_for(graph(25)), oldest_for(graph(99))) == (
            "1.16.0",
            "1.24.1",
            "",
        )

    def test_it_is_known_without_a_run(self) -> None:
        (finding,) = at(
            judge(reference(graph=graph(23, 11)), with_ort("1.19.2"), None, INVENTORY), "onnxruntime.version"
        )
        assert (finding.severity, finding.unknown) == ("block", False)
        assert finding.message == "the model needs opset 23; onnxruntime 1.19.2 supports up to 21"
        assert finding.hint == "pip install 'onnxruntime>=1.23.0', or export the model with opset 21"

    def test_a_run_outranks_the_table(self) -> None:
        device = with_ort("1.19.2")
        assert (
            at(judge(reference(graph=graph(23)), device, evidence(device), DEFAULT), "onnxruntime.version")
            == []
        )

    def test_a_run_that_failed_tells_it_once(self) -> None:
        device = with_ort("1.19.2")
        ending = Ending(status="error", stage="session", reason="Opset 23 ...")
        ended = evidence(device, ending=ending, runtime=Runtime(onnxruntime="1.19.2"))
        findings = judge(reference(graph=graph(23)), device, ended, DEFAULT)
        assert at(findings, "onnxruntime.version") == []
        assert "needs opset 23" in at(findings, "evidence.ending")[0].cause

    @pytest.mark.parametrize("version", ["", "x", None, 3, []])
    def test_a_version_that_is_none_is_unknown(self, version: Any) -> None:
        (finding,) = at(judge(reference(), with_ort(version), None, INVENTORY), "onnxruntime.version")
        assert finding.unknown


class TestMemory:
    needs = SmokeReadings(peak_memory_mb=700.0)

    @pytest.mark.parametrize(
        ("facts", "enough"),
        [
            ({"total_mib": 1024}, True),
            ({"total_mib": 512}, False),
            ({"total_mib": 4096, "limit_mib": 256}, False),
            ({"total_mib": 668}, True),
        ],
    )
    def test_the_least_of_memory_and_limits_counts(self, facts: dict[str, int], enough: bool) -> None:
        device = shared(memory=Section(status="ok", shared=facts))
        findings = at(judge(reference(readings=self.needs), device, None, INVENTORY), "memory.total_mib")
        assert (findings == []) == enough

    def test_the_limit_of_the_unit_counts(self) -> None:
        unit = Section(status="ok", shared={"origin": "unit", "unit": {"memory_mib": 128}})
        device = shared(variables=unit)
        (finding,) = at(judge(reference(readings=self.needs), device, None, INVENTORY), "memory.total_mib")
        assert finding.message == (
            "memory will not suffice: the model needed 700 MB in training, 128 MiB here"
        )

    def test_a_run_that_ended_well_has_shown_it(self) -> None:
        device = shared(memory=Section(status="ok", shared={"total_mib": 512}))
        findings = judge(reference(readings=self.needs), device, evidence(device), DEFAULT)
        assert at(findings, "memory.total_mib") == []

    def test_without_figures_of_training_the_model_file_is_the_least(self) -> None:
        large = Graph(sha256="a" * 64, size=900_000_000, ir_version=8)
        device = shared(memory=Section(status="ok", shared={"total_mib": 512}))
        assert at(judge(reference(graph=large), device, None, INVENTORY), "memory.total_mib") != []


class TestConflicts:
    told = ("onnxruntime and onnxruntime-gpu overwrite each other's files",)

    @pytest.mark.parametrize(("policy", "severity"), [(INVENTORY, "block"), (DEFAULT, "warn")])
    def test_flavours_over_each_other(self, policy: Any, severity: str) -> None:
        device = with_ort("1.32.0", conflicts=list(self.told))
        (finding,) = at(judge(reference(), device, evidence(device), policy), "onnxruntime.conflicts")
        assert (finding.severity, finding.unknown) == (severity, False)
        assert self.told[0] in finding.message

    def test_what_is_so_in_training_too_is_no_difference(self) -> None:
        device = with_ort("1.32.0", conflicts=list(self.told))
        held = msgspec.structs.replace(reference(), training=device)
        assert at(judge(held, device, None, INVENTORY), "onnxruntime.conflicts") == []


class TestWheels:
    @pytest.mark.parametrize(
        ("package", "version", "python", "possible"),
        [
            ("onnxruntime", "1.32.0", "3.8.18", False),
            ("onnxruntime", "1.19.2", "3.8.18", True),
            ("onnxruntime", "1.23.2", "3.10.13", True),
            ("onnxruntime", "1.24.1", "3.10.13", False),
            ("onnxruntime", "1.16.3", "3.12.1", False),
            ("numpy", "2.4.6", "3.11.7", True),
            ("numpy", "2.5.0", "3.11.7", False),
            ("numpy", "1.24.4", "3.13.0", False),
            ("rich", "15.0.0", "3.8.18", True),
            ("numpy", "2.4.6", "", True),
            ("numpy", "strange", "3.8.18", True),
            ("numpy", "2.4.6", "9.9", True),
        ],
    )
    def test_what_a_python_can_have(self, package: str, version: str, python: str, possible: bool) -> None:
        assert can_have(package, version, python) == possible
        assert install_hint(package, version, python).startswith("pip install") == possible

    def test_which_pythons_have_it(self) -> None:
        assert pythons_for("onnxruntime", "1.32.0") == "3.11 to 3.14"
        assert pythons_for("numpy", "2.0.0") == "3.9 to 3.12"
        assert pythons_for("numpy", "0.1") == ""
