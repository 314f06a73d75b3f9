"""What evidence must show before a rule lets it pass."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders import evidence, metrics, package, reference, shared

from envcheck.contract.baseline import Floor, Graph, OutputReference
from envcheck.contract.evidence import Decisions, Ending, Evidence, Placement, Runtime
from envcheck.contract.fingerprint import Section
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Finding
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy, load_policy
from envcheck.judge.reference import Reference

DEFAULT, STRICT = builtin_policy("default"), builtin_policy("strict")
NOTHING: dict[str, Any] = {"basis": "float64", "scale": 0.0, "rms": 0.0, "max": 0.0}
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def own(rule: str) -> Policy:
    return load_policy(f"name: own\nrules:\n- {{{rule}}}\n", "own.yaml")


def judged(measured: Evidence, policy: Policy = DEFAULT, held_to: Reference | None = None) -> list[Finding]:
    return judge(held_to or reference(), shared(), measured, policy)


def with_floor(**floor: Any) -> Reference:
    values = {"basis": "float64", "scale": 1.0, "rms": 1e-7, "max": 1e-6, **floor}
    output = OutputReference(dtype="float32", shape=[180, 10], decides=True, floor=Floor(**values))
    return reference(outputs={"logits": output})


class TestOutputs:
    decisions = own("path: evidence.outputs.*, compare: decisions, severity: block")

    @pytest.mark.parametrize(
        "outputs",
        [
            {},
            {"logits": metrics(problem="non-finite", rmse=None, max_abs=None, decisions=None)},
            {"logits": metrics(shape=[180, 11], elements=1980)},
        ],
    )
    def test_who_judges_decisions_alone_hears_of_outputs_that_have_none(self, outputs: Any) -> None:
        findings = judged(evidence(outputs=outputs), self.decisions)
        assert ("evidence.outputs.logits", False) in [(one.path, one.unknown) for one in findings]

    def test_it_is_said_once_where_two_rules_judge_it(self) -> None:
        assert len(judged(evidence(outputs={}))) == 1

    def test_an_output_that_trainings_own_evidence_lacks_is_judged(self) -> None:
        bare = reference(evidence=evidence(bundle="", outputs={}))
        (finding,) = judged(evidence(outputs={}), DEFAULT, bare)
        assert finding.message == "output logits is missing"

    def test_a_type_or_shape_that_is_called_no_problem_is_one(self) -> None:
        for changed in ({"dtype": "float16"}, {"shape": [1800], "elements": 1800, "decisions": None}):
            (finding,) = judged(evidence(outputs={"logits": metrics(**changed)}))
            assert not finding.unknown
            assert "float32 [180, 10] in training" in finding.message

    def test_a_model_that_draws_random_numbers_is_unknown(self) -> None:
        graph = Graph(sha256="a" * 64, size=1, ir_version=8, random=["RandomNormal"])
        (finding,) = judged(evidence(), DEFAULT, reference(graph=graph))
        assert finding.unknown

    def test_a_policy_whose_rules_find_nothing_in_the_baseline_is_unknown(self) -> None:
        unlabelled = reference(evidence=evidence(bundle="", accuracy=None))
        policy = own("path: evidence.accuracy, compare: accuracy, severity: block")
        (finding,) = judged(evidence(accuracy=None), policy, unlabelled)
        assert (finding.severity, finding.unknown) == ("block", True)
        assert judged(evidence(accuracy=None), DEFAULT, unlabelled) == []

    def test_outputs_without_elements_prove_nothing(self) -> None:
        """Only the two rules on outputs: with a third that has something to judge, that one decides."""
        empty = OutputReference(dtype="float32", shape=[0, 10], decides=True, floor=Floor(**NOTHING))
        measured = metrics(shape=[0, 10], elements=0, rmse=0.0, max_abs=0.0, decisions=Decisions(total=0))
        policy = own("path: evidence.outputs.*, compare: noise-floor, severity: block")
        held_to = reference(outputs={"logits": empty})
        (finding,) = judged(evidence(outputs={"logits": measured}), policy, held_to)
        assert (finding.severity, finding.unknown) == ("block", True)


class TestTheLimit:
    def test_a_floor_of_nothing_allows_nothing_and_does_not_break(self) -> None:
        nothing = with_floor(scale=0.0, rms=0.0, max=0.0)
        assert judged(evidence(outputs={"logits": metrics(rmse=0.0, max_abs=0.0)}), DEFAULT, nothing) == []
        (finding,) = judged(evidence(outputs={"logits": metrics(rmse=5e-324, max_abs=0.1)}), DEFAULT, nothing)
        assert finding.message == "output logits is off by more than nothing, and the noise floor is 0"

    @pytest.mark.parametrize("floor", [1e-5, 1.1e-5, 1.23e-5, 3.33e-5, 7.77e-5, 9.99e-5])
    def test_two_floors_pass_and_the_next_number_of_three_digits_does_not(self, floor: float) -> None:
        held_to = with_floor(scale=1e-9, rms=floor, max=1.0)
        limit = float(f"{2 * floor:.2e}")
        limit = limit if limit <= 2 * floor * (1 + 1e-9) else limit - 10 ** (int(f"{limit:e}"[-3:]) - 2)
        step = 10.0 ** (int(f"{limit:e}"[-3:]) - 2)
        within, beyond = (metrics(rmse=float(f"{value:.2e}"), max_abs=0.5) for value in (limit, limit + step))
        assert judged(evidence(outputs={"logits": within}), DEFAULT, held_to) == []
        (finding,) = judged(evidence(outputs={"logits": beyond}), DEFAULT, held_to)
        assert "by 2x" not in finding.message, "what is above the limit is written above it"

    def test_the_largest_numbers_do_not_break_it(self) -> None:
        (finding,) = judged(
            evidence(outputs={"logits": metrics(rmse=1e308, max_abs=1e308)}),
            DEFAULT,
            with_floor(rms=5e-324, max=5e-324, scale=0.0),
        )
        assert not finding.unknown


class TestPlacement:
    gpu = reference(
        providers=[CUDA, CPU],
        evidence=evidence(
            bundle="",
            registered=[CUDA, CPU],
            placement=Placement(source="assignment", nodes={CUDA: {"Conv": 9}, CPU: {"Conv": 1, "Gemm": 1}}),
        ),
    )

    def placed(self, nodes: dict[str, dict[str, int]], **changed: Any) -> list[Finding]:
        placement = Placement(source="assignment", nodes=nodes)
        values = {"registered": [CUDA, CPU], "placement": placement, **changed}
        return judged(evidence(**values), DEFAULT, self.gpu)

    def test_training_itself_is_as_in_training(self) -> None:
        assert self.placed({CUDA: {"Conv": 9}, CPU: {"Conv": 1, "Gemm": 1}}) == []
        assert self.placed({CUDA: {"FusedConv": 9}, CPU: {"FusedConv": 1, "Gemm": 1}}) == []

    def test_one_heavy_node_more_elsewhere_blocks(self) -> None:
        (finding,) = self.placed({CUDA: {"Conv": 8}, CPU: {"Conv": 2, "Gemm": 1}})
        assert not finding.unknown

    @pytest.mark.parametrize("nodes", [{}, {CPU: {"Shape": 3}}, {CUDA: {}}])
    def test_a_placement_that_names_no_node_of_the_provider_proves_nothing(self, nodes: Any) -> None:
        (finding,) = self.placed(nodes)
        assert finding.unknown

    def test_why_a_provider_is_not_there_is_told(self) -> None:
        why = "CUDAExecutionProvider did not register: the library libcublas.so.12 is missing"
        (finding,) = self.placed(
            {CPU: {"Conv": 10}}, registered=[CPU], ending=Ending(status="ok", stage="done", reason=why)
        )
        assert "the library libcublas.so.12 is missing" in finding.cause


class TestSaturation:
    @pytest.mark.parametrize("scheme", ["U8S8", "S8S8", "QDQ", "dynamic", "integer"])
    def test_every_scheme_with_int8_weights_is_judged(self, scheme: str) -> None:
        graph = Graph(sha256="a" * 64, size=1, ir_version=8, quantised={scheme: 4})
        (finding,) = judged(evidence(canaries={"u8s8": "saturates"}), DEFAULT, reference(graph=graph))
        assert (finding.severity, finding.unknown) == ("warn", False)

    @pytest.mark.parametrize("canary", ["", "other:5,6", "Exact"])
    def test_an_answer_that_is_neither_is_unknown(self, canary: str) -> None:
        graph = Graph(sha256="a" * 64, size=1, ir_version=8, quantised={"U8S8": 4})
        (finding,) = judged(evidence(canaries={"u8s8": canary}), STRICT, reference(graph=graph))
        assert finding.unknown


class TestRepeatable:
    def test_what_was_not_measured_is_unknown(self) -> None:
        (finding,) = judged(evidence(repeatable=None), STRICT)
        assert (finding.severity, finding.unknown) == ("block", True)

    @pytest.mark.parametrize("here", [None, True, False])
    def test_what_did_not_repeat_in_training_need_not_here(self, here: Any) -> None:
        restless = reference(evidence=evidence(bundle="", repeatable=False))
        assert judged(evidence(repeatable=here), STRICT, restless) == []


class TestCauses:
    def test_a_missing_output_is_not_blamed_on_arithmetic(self) -> None:
        graph = Graph(sha256="a" * 64, size=1, ir_version=8, quantised={"U8S8": 4})
        measured = evidence(canaries={"u8s8": "saturates"}, outputs={})
        (finding,) = [
            one for one in judged(measured, DEFAULT, reference(graph=graph)) if "missing" in one.message
        ]
        assert finding.cause.startswith("another graph")

    def test_not_known_names_what_was_looked_at(self) -> None:
        (finding,) = judged(evidence(outputs={"logits": metrics(rmse=1e-3, max_abs=1e-2)}))
        assert finding.cause == (
            "not known: onnxruntime, numpy, Python, the provider and the CPU's features are as in training; "
            "so the weights, or the inputs, may not be those of the baseline"
        )

    def test_a_provider_and_a_build_are_named(self) -> None:
        measured = evidence(
            outputs={"logits": metrics(rmse=1e-3, max_abs=1e-2)},
            registered=["OpenVINOExecutionProvider", CPU],
            placement=Placement(source="assignment", nodes={CPU: {"MatMul": 3}}),
            runtime=Runtime(
                python="3.11.7",
                onnxruntime="1.32.0",
                numpy="2.4.6",
                onnxruntime_build="local",
                options={"a": "1"},
            ),
        )
        (finding,) = judged(measured)
        assert "the provider OpenVINOExecutionProvider, CPUExecutionProvider" in finding.cause
        assert "another build of onnxruntime 1.32.0" in finding.cause
        assert "the session option a is 1 (training not set)" in finding.cause

    def test_a_package_is_called_harmless_only_where_outputs_were_judged(self) -> None:

        device = shared(
            packages=Section(
                status="ok",
                shared={"numpy": package("1"), "onnxruntime": package("1.32.0"), "rich": package("15.0.0")},
            )
        )
        measured = evidence(device, outputs={"logits": metrics(rmse=None, max_abs=None)})
        findings = judge(reference(), device, measured, DEFAULT)
        (finding,) = [one for one in findings if one.path == "packages.numpy.version"]
        assert finding.impact == "what it does to the outputs is not known"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"ending": Ending(status="ok", stage="run")}, "stage 'run'"),
        ({"outputs": {"logits": metrics(elements=5)}}, "5 elements in the shape [180, 10]"),
        ({"outputs": {"logits": metrics(rmse=1e-6, max_abs=1e-7)}}, "above its largest error"),
        ({"outputs": {"logits": metrics(decisions=Decisions(total=0))}}, "0 decisions"),
        ({"outputs": {"logits": metrics(decisions=Decisions(total=180, flipped=181))}}, "181 of 180"),
        ({"accuracy": 1.2}, "an accuracy of 1.2"),
    ],
)
def test_evidence_that_contradicts_itself_is_unknown(changed: dict[str, Any], what: str) -> None:
    unknown = [one for one in judged(evidence(**changed)) if one.unknown]
    assert [one.severity for one in unknown] == ["block"]
    assert what in unknown[0].message
