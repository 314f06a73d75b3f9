"""What judge finds, by changing one thing at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.builders import BUNDLE, evidence, metrics, package, reference, sections, shared

from envcheck.contract.baseline import Graph
from envcheck.contract.evidence import Decisions, Ending, Evidence, Placement, Runtime
from envcheck.contract.fingerprint import Section, SharedFingerprint
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Finding
from envcheck.judge.judge import judge
from envcheck.judge.policies import BUILTIN, builtin_policy, load_policy

DEFAULT = builtin_policy("default")
STRICT = builtin_policy("strict")
INVENTORY = builtin_policy("inventory")
U8S8 = Graph(sha256="a" * 64, size=1, ir_version=8, quantised={"U8S8": 12})


def found(findings: list[Finding], path: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.path == path]
    return finding


def with_packages(**versions: str) -> SharedFingerprint:
    packages = {"numpy": "2.4.6", "onnxruntime": "1.32.0", "rich": "15.0.0", **versions}
    shared_packages = {name: package(version) for name, version in packages.items()}
    return shared(packages=Section(status="ok", shared=shared_packages))


@pytest.mark.parametrize("policy", BUILTIN)
def test_the_training_environment_itself_has_no_findings(policy: str) -> None:
    assert judge(reference(), shared(), evidence(), builtin_policy(policy)) == []


def test_judging_is_a_pure_function() -> None:
    device = with_packages(numpy="1.26.4")
    arguments = (reference(), device, evidence(device), STRICT)
    assert judge(*arguments) == judge(*arguments)


class TestPackages:
    device = with_packages(numpy="1.26.4")

    def test_a_required_one_warns_by_default_and_says_that_it_was_not_felt(self) -> None:
        finding = found(
            judge(reference(), self.device, evidence(self.device), DEFAULT), "packages.numpy.version"
        )
        assert (finding.severity, finding.unknown) == ("warn", False)
        assert finding.message == "numpy 1.26.4 here, 2.4.6 in training"
        assert finding.impact == "outputs are unaffected by it"
        assert finding.hint == "pip install numpy==2.4.6"

    def test_the_same_one_blocks_under_strict(self) -> None:
        finding = found(
            judge(reference(), self.device, evidence(self.device), STRICT), "packages.numpy.version"
        )
        assert finding.severity == "block"

    def test_its_impact_is_told_when_outputs_differ(self) -> None:
        measured = evidence(self.device, outputs={"logits": metrics(rmse=1e-3)})
        findings = judge(reference(), self.device, measured, DEFAULT)
        assert found(findings, "packages.numpy.version").impact == "outputs differ from training"

    def test_one_that_the_model_does_not_load_is_information(self) -> None:
        device = with_packages(rich="13.0.0")
        findings = judge(reference(), device, evidence(device), STRICT)
        assert [(finding.path, finding.severity) for finding in findings] == [
            ("packages.rich.version", "info")
        ]

    def test_one_that_is_gone_is_found(self) -> None:
        device = shared(packages=Section(status="ok", shared={"numpy": package("2.4.6")}))
        finding = found(judge(reference(), device, evidence(device), STRICT), "packages.onnxruntime.version")
        assert finding.severity == "block"
        assert finding.message == "onnxruntime is not installed here, 1.32.0 in training"

    def test_one_more_than_in_training_is_no_difference(self) -> None:
        device = with_packages(pandas="3.0")
        assert judge(reference(), device, evidence(device), STRICT) == []

    def test_versions_are_compared_not_their_spelling(self) -> None:
        device = with_packages(numpy="2.4.6.0")
        assert judge(reference(), device, evidence(device), STRICT) == []


class TestUnknown:
    def test_without_facts_nothing_is_known(self) -> None:
        (finding,) = judge(reference(), None, evidence(), DEFAULT)
        assert (finding.severity, finding.unknown) == ("block", True)

    @pytest.mark.parametrize(
        ("measured", "message"),
        [
            (None, "the model was not run on this device"),
            (evidence(bundle="c" * 64), "another bundle"),
            (evidence(fingerprint="d" * 64), "the environment changed"),
        ],
    )
    def test_evidence_that_does_not_count_is_unknown(self, measured: Evidence | None, message: str) -> None:
        finding = found(judge(reference(), shared(), measured, DEFAULT), "evidence")
        assert (finding.severity, finding.unknown) == ("block", True)
        assert message in finding.message

    def test_inventory_does_without_evidence(self) -> None:
        assert judge(reference(), shared(), None, INVENTORY) == []

    @pytest.mark.parametrize("status", ["unreadable", "error", "skipped"])
    def test_a_section_that_could_not_be_read_is_unknown(self, status: Any) -> None:
        device = shared(packages=Section(status=status, reason="permission denied"))
        finding = found(judge(reference(), device, evidence(device), STRICT), "packages")
        assert (finding.severity, finding.unknown) == ("block", True)
        assert "permission denied" in finding.message

    def test_a_section_that_was_not_captured_is_unknown(self) -> None:
        everything = shared()
        device = SharedFingerprint(
            digest=everything.digest,
            sections={name: part for name, part in everything.sections.items() if name != "packages"},
        )
        assert found(judge(reference(), device, evidence(), STRICT), "packages").unknown

    def test_absent_is_a_difference_and_not_unknown(self) -> None:
        device = shared(cpu=Section(status="absent", reason="no processor"))
        assert not found(judge(reference(), device, evidence(device), STRICT), "cpu").unknown

    def test_a_fact_that_is_not_there_is_unknown(self) -> None:
        device = shared(python=Section(status="ok", shared={"version": "3.11.7"}))
        finding = found(judge(reference(), device, evidence(device), STRICT), "python.implementation")
        assert (finding.severity, finding.unknown) == ("block", True)


class TestOutputs:
    def judged(self, policy: Any = DEFAULT, **changed: Any) -> list[Finding]:
        return judge(reference(), shared(), evidence(outputs={"logits": metrics(**changed)}), policy)

    def test_within_two_floors_passes(self) -> None:
        assert self.judged(rmse=1.9e-7, max_abs=1.9e-6) == []

    def test_beyond_two_floors_and_the_roundoff_of_the_scale_blocks(self) -> None:
        # 4 * 2^-23 of a scale of 1 is 4.8e-7: below that nothing is held against a device.
        assert self.judged(rmse=4.7e-7) == []
        finding = found(self.judged(rmse=6e-7), "evidence.outputs.logits")
        assert finding.severity == "block"
        assert "the noise floor (2x allowed)" in finding.message
        assert finding.cause

    def test_a_single_large_error_blocks(self) -> None:
        assert found(self.judged(max_abs=1e-4), "evidence.outputs.logits").severity == "block"

    def test_not_a_number_never_passes(self) -> None:
        assert found(self.judged(rmse=float("nan")), "evidence.outputs.logits").severity == "block"

    def test_a_missing_output_blocks(self) -> None:
        findings = judge(reference(), shared(), evidence(outputs={}), DEFAULT)
        assert "evidence.outputs.logits" in {finding.path for finding in findings}

    def test_an_output_too_many_blocks(self) -> None:
        outputs = {"logits": metrics(), "more": metrics()}
        findings = judge(reference(), shared(), evidence(outputs=outputs), DEFAULT)
        assert found(findings, "evidence.outputs.more").severity == "block"

    def test_another_shape_blocks_and_says_which(self) -> None:
        finding = found(
            self.judged(problem="shape", shape=[180, 11], detail="shape [180, 11], training had [180, 10]"),
            "evidence.outputs.logits",
        )
        assert finding.actual == "float32 [180, 11]"

    def test_numbers_that_were_not_measured_are_unknown(self) -> None:
        assert found(self.judged(rmse=None), "evidence.outputs.logits").unknown

    def test_flipped_ties_pass_and_flipped_decisions_block(self) -> None:
        assert self.judged(decisions=Decisions(total=180, flipped=1, largest_margin=1e-6)) == []
        finding = found(
            self.judged(decisions=Decisions(total=180, flipped=69, largest_margin=2.0)),
            "evidence.outputs.logits",
        )
        assert finding.message == "69 of 180 decisions (38.3%) differ from training"

    def test_decisions_by_the_best_few_are_called_so_and_no_others_stand_for_them(self) -> None:
        output = msgspec.structs.replace(reference().baseline.outputs["logits"], top=3)
        held = reference(outputs={"logits": output})

        def judged(**changed: Any) -> list[Finding]:
            decisions = Decisions(total=180, **changed)
            made = evidence(outputs={"logits": metrics(decisions=decisions)})
            return judge(held, shared(), made, DEFAULT)

        assert judged(top=3, flipped=9, largest_margin=1e-6) == []
        (finding,) = judged(top=3, flipped=9, largest_margin=1.0)
        assert finding.message == "9 of 180 top 3 decisions (5.0%) differ from training"
        (other,) = judged()
        assert (other.unknown, other.severity) == (True, "block")

    def test_lower_accuracy_blocks_beyond_what_is_allowed(self) -> None:
        assert judge(reference(), shared(), evidence(accuracy=0.951), DEFAULT) == []
        finding = found(judge(reference(), shared(), evidence(accuracy=0.94), DEFAULT), "evidence.accuracy")
        assert finding.message == "accuracy 0.940 here, 0.960 in training"

    def test_accuracy_that_was_not_measured_is_unknown(self) -> None:
        assert found(
            judge(reference(), shared(), evidence(accuracy=None), DEFAULT), "evidence.accuracy"
        ).unknown


class TestEnding:
    @pytest.mark.parametrize("status", ["error", "crash", "timeout", "memory", "refused"])
    @pytest.mark.parametrize("policy", [DEFAULT, STRICT])
    def test_a_model_that_did_not_run_blocks_under_every_policy(self, status: Any, policy: Any) -> None:
        ended = Ending(status=status, stage="run", reason="illegal instruction", hint="another wheel")
        (finding,) = judge(reference(), shared(), evidence(ending=ended, outputs={}), policy)
        assert (finding.severity, finding.message, finding.hint) == (
            "block",
            "illegal instruction",
            "another wheel",
        )


class TestPlacement:
    gpu = reference(providers=["CUDAExecutionProvider", "CPUExecutionProvider"])

    def test_a_provider_that_fell_back_blocks(self) -> None:
        finding = found(judge(self.gpu, shared(), evidence(), DEFAULT), "evidence.placement")
        assert finding.severity == "block"
        assert finding.message.startswith("CUDAExecutionProvider was not used")

    def test_heavy_nodes_elsewhere_block_and_are_counted(self) -> None:
        nodes = {
            "CUDAExecutionProvider": {"Conv": 9},
            "CPUExecutionProvider": {"Conv": 2, "Shape": 5, "com.microsoft:FusedMatMul": 1},
        }
        measured = evidence(
            registered=["CUDAExecutionProvider", "CPUExecutionProvider"],
            placement=Placement(
                source="assignment", nodes=nodes, astray={"CPUExecutionProvider": ["Conv /stem/conv"]}
            ),
        )
        finding = found(judge(self.gpu, shared(), measured, DEFAULT), "evidence.placement")
        assert finding.message.endswith("(Conv /stem/conv)")
        assert "2 Conv on CPUExecutionProvider, 1 com.microsoft:FusedMatMul" in finding.message
        assert "Shape" not in finding.message

    def test_a_placement_that_is_not_proven_is_unknown(self) -> None:
        measured = evidence(
            registered=["CUDAExecutionProvider", "CPUExecutionProvider"], placement=Placement(source="none")
        )
        assert found(judge(self.gpu, shared(), measured, DEFAULT), "evidence.placement").unknown

    def test_with_the_cpu_alone_there_is_nothing_to_prove(self) -> None:
        assert judge(reference(), shared(), evidence(placement=Placement(source="none")), DEFAULT) == []


class TestSaturation:
    device = shared(cpu=Section(status="ok", shared={"isa": ["avx2", "sse4_2"]}))

    def test_it_is_the_cause_of_wrong_outputs(self) -> None:
        measured = evidence(
            self.device, canaries={"u8s8": "saturates"}, outputs={"logits": metrics(rmse=0.2, max_abs=1.0)}
        )
        finding = found(
            judge(reference(graph=U8S8), self.device, measured, DEFAULT), "evidence.outputs.logits"
        )
        assert (
            finding.cause
            == "int8 products saturate: this CPU has AVX2 without VNNI, and the model has 12 U8S8 nodes"
        )
        assert "uint8 weights" in finding.hint

    def test_it_warns_even_when_these_inputs_came_through(self) -> None:
        measured = evidence(self.device, canaries={"u8s8": "saturates"})
        findings = judge(reference(graph=U8S8), self.device, measured, DEFAULT)
        assert found(findings, "evidence.canaries.u8s8").severity == "warn"

    def test_to_a_float_model_it_is_nothing_and_the_missing_flag_information(self) -> None:
        findings = judge(
            reference(), self.device, evidence(self.device, canaries={"u8s8": "saturates"}), DEFAULT
        )
        assert [(finding.path, finding.severity) for finding in findings] == [("cpu.isa", "info")]

    def test_when_it_was_not_measured_a_strict_verdict_is_unknown(self) -> None:
        findings = judge(reference(graph=U8S8), shared(), evidence(canaries={}), STRICT)
        assert found(findings, "evidence.canaries.u8s8").unknown


def test_what_else_differs_is_named_when_the_cause_is_not_known() -> None:
    measured = evidence(
        outputs={"logits": metrics(rmse=1e-3)},
        runtime=Runtime(python="3.8.18", onnxruntime="1.19.2", numpy="2.4.6"),
    )
    finding = found(judge(reference(), shared(), measured, DEFAULT), "evidence.outputs.logits")
    assert "onnxruntime 1.19.2 (training 1.32.0), Python 3.8 (training 3.11)" in finding.cause


def test_the_first_rule_that_means_a_path_decides() -> None:
    policy = load_policy(
        "name: own\nrules:\n"
        "- {path: packages.numpy.version, compare: version, severity: info}\n"
        "- {path: packages.*.version, compare: version, severity: block}\n",
        "own.yaml",
    )
    device = with_packages(numpy="1.26.4", rich="1.0")
    findings = judge(reference(), device, evidence(device), policy)
    assert [(finding.path, finding.severity) for finding in findings] == [
        ("packages.rich.version", "block"),
        ("packages.numpy.version", "info"),
    ]


def test_absolute_rules_do_not_need_training() -> None:
    policy = load_policy(
        "name: own\nrules:\n"
        "- {path: cuda.driver, compare: specifier, severity: block, options: {specifier: '>=535'}}\n",
        "own.yaml",
    )
    old = shared(cuda=Section(status="ok", shared={"driver": "470.1"}))
    new = shared(cuda=Section(status="ok", shared={"driver": "550.54"}))
    none = shared(cuda=Section(status="ok", shared={}))
    assert found(judge(reference(), old, evidence(old), policy), "cuda.driver").actual == "470.1"
    assert judge(reference(), new, evidence(new), policy) == []
    assert found(judge(reference(), none, evidence(none), policy), "cuda.driver").unknown


def test_bundle_digest_is_what_binds_evidence() -> None:
    assert evidence().bundle == BUNDLE == reference().bundle
    assert sections().keys() == shared().sections.keys()


@pytest.mark.parametrize("policy", [DEFAULT, STRICT], ids=["default", "strict"])
def test_variables_that_may_not_be_read_leave_the_evidence_in_doubt(policy: Policy) -> None:
    """The smoke run had to do without them; the service that serves does not."""
    hidden = shared(variables=Section(status="unreadable", reason="/etc/default/app may not be read"))
    finding = found(judge(reference(), hidden, evidence(hidden), policy), "evidence")
    assert (finding.severity, finding.unknown) == ("block", True)
    assert "/etc/default/app" in finding.message
    known = shared(variables=Section(status="ok", shared={"values": {}}))
    assert judge(reference(), known, evidence(known), policy) == []
