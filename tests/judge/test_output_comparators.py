"""Probabilities, batches, random models and lost providers: what is found, and what is let pass."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import msgspec
import pytest
from support.builders import evidence, metrics, reference, shared

from envcheck.contract.baseline import Floor, Graph, OutputReference, TensorSpec, Ties
from envcheck.contract.evidence import Decisions, OutputMetrics, Placement
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Finding, Measure
from envcheck.judge.judge import judge
from envcheck.judge.measure import measure
from envcheck.judge.policies import builtin_policy, load_policy
from envcheck.judge.reference import Reference

DEFAULT, STRICT = builtin_policy("default"), builtin_policy("strict")
FLOOR = Floor(basis="float64", scale=1.0, rms=1e-7, max=1e-6)


def own(rule: str) -> Policy:
    return load_policy(f"name: own\nrules:\n- {{{rule}}}\n", "own.yaml")


def held_to(
    there: OutputMetrics | None = None, output: dict[str, Any] | None = None, **changed: Any
) -> Reference:
    values: dict[str, Any] = {
        "dtype": "float32",
        "shape": [180, 10],
        "decides": True,
        "floor": FLOOR,
        **(output or {}),
    }
    trained = evidence(bundle="", outputs={"logits": there or metrics()})
    return reference(outputs={"logits": OutputReference(**values)}, evidence=trained, **changed)


def found(here: OutputMetrics, there: Reference, policy: Policy) -> list[Finding]:
    return judge(there, shared(), evidence(outputs={"logits": here}), policy)


class TestRange:
    policy = own("path: evidence.outputs.*, compare: range, severity: block")
    there = held_to(metrics(low=0.0, high=1.0, sum_error=1e-7), {"probabilities": True})

    def test_probabilities_pass(self) -> None:
        assert found(metrics(low=0.0, high=1.0, sum_error=2e-7), self.there, self.policy) == []

    @pytest.mark.parametrize(
        "numbers", [{"low": -0.01}, {"high": 1.01}, {"sum_error": 0.01}, {"low": -3.0, "high": 4.0}]
    )
    def test_what_is_none_is_found(self, numbers: dict[str, float]) -> None:
        here = metrics(**{"low": 0.0, "high": 1.0, "sum_error": 1e-7, **numbers})
        (finding,) = found(here, self.there, self.policy)
        assert (finding.severity, finding.unknown) == ("block", False)
        assert "does not hold probabilities" in finding.message

    def test_scores_that_are_no_probabilities_in_training_are_free(self) -> None:
        here = metrics(low=-50.0, high=60.0, sum_error=9.0)
        findings = found(here, held_to(), own("path: evidence.outputs.*, compare: range, severity: warn"))
        assert [one.path for one in findings] == ["evidence"], "the policy judges nothing of this baseline"

    def test_what_was_not_measured_is_unknown(self) -> None:
        (finding,) = found(metrics(), self.there, self.policy)
        assert finding.unknown

    def test_training_itself_may_be_coarse(self) -> None:
        coarse = held_to(metrics(low=0.0, high=1.0, sum_error=0.004), {"probabilities": True})
        assert found(metrics(low=0.0, high=1.0, sum_error=0.01), coarse, self.policy) == []
        assert found(metrics(low=0.0, high=1.0, sum_error=0.02), coarse, self.policy) != []

    def test_half_precision_sums_are_off_by_more(self) -> None:
        half = held_to(
            metrics(dtype="float16", low=0.0, high=1.0, sum_error=1e-3),
            {"probabilities": True, "dtype": "float16"},
        )
        assert found(metrics(dtype="float16", low=0, high=1, sum_error=2e-3), half, self.policy) == []


class TestBatching:
    policy = own("path: evidence.outputs.*, compare: batching, severity: block")
    there = held_to(metrics(batching_rms=5e-8, batching_max=5e-7))

    def test_within_the_floor_passes(self) -> None:
        assert found(metrics(batching_rms=2e-7, batching_max=2e-6), self.there, self.policy) == []

    def test_beyond_it_is_found(self) -> None:
        (finding,) = found(metrics(batching_rms=1e-4, batching_max=1e-3), self.there, self.policy)
        assert not finding.unknown
        assert "samples alone differ from the same samples in a batch" in finding.message

    def test_a_model_that_differs_from_itself_in_training_may(self) -> None:
        """Dynamic quantisation takes its scale from the whole batch."""
        coarse = held_to(metrics(batching_rms=0.01, batching_max=0.05))
        assert found(metrics(batching_rms=0.015, batching_max=0.08), coarse, self.policy) == []
        assert found(metrics(batching_rms=0.03, batching_max=0.08), coarse, self.policy) != []

    @pytest.mark.parametrize(
        ("policy", "severities"), [(DEFAULT, ["info"]), (STRICT, ["block"])], ids=["default", "strict"]
    )
    def test_a_quick_run_does_not_pass_silently(self, policy: Policy, severities: list[str]) -> None:
        findings = found(metrics(), self.there, policy)
        assert [(one.severity, one.unknown) for one in findings] == [(each, True) for each in severities]
        assert "--quick" in findings[0].hint

    def test_what_training_did_not_measure_is_not_wanted(self) -> None:
        assert found(metrics(batching_rms=1.0, batching_max=1.0), held_to(), STRICT) == []


class TestRandomModels:
    graph = Graph(sha256="a" * 64, size=1, ir_version=8, random=["RandomNormal"])
    normal: dict[str, Any] = {"low": -3.2, "high": 3.3, "mean": 0.01, "deviation": 1.0}
    there = held_to(metrics(**normal), graph=graph)

    def judged(self, **changed: Any) -> list[Finding]:
        wild = {"rmse": 1.4, "max_abs": 5.0, "decisions": None}
        return found(metrics(**{**self.normal, **wild, **changed}), self.there, DEFAULT)

    def test_other_draws_of_the_same_kind_pass(self) -> None:
        assert self.judged(low=-3.6, high=3.0, mean=-0.03, deviation=0.98) == []

    @pytest.mark.parametrize(
        "changed",
        [{"mean": 0.9}, {"deviation": 2.0, "high": 4.0}, {"deviation": 0.3}, {"high": 9.0}, {"low": -9.0}],
    )
    def test_another_kind_is_found(self, changed: dict[str, float]) -> None:
        (finding,) = self.judged(**changed)
        assert (finding.severity, finding.unknown) == ("block", False)
        assert "is random, and not as in training" in finding.message

    def test_another_shape_is_found(self) -> None:
        (finding,) = self.judged(shape=[90, 10], elements=900)
        assert not finding.unknown

    def test_what_was_not_described_is_unknown(self) -> None:
        (finding,) = self.judged(mean=None)
        assert finding.unknown

    def test_flipped_decisions_are_no_fault_of_the_device(self) -> None:
        flipped = Decisions(total=180, flipped=170, largest_margin=5.0)
        assert self.judged(decisions=flipped) == []

    def test_batches_of_random_numbers_are_not_compared(self) -> None:
        apart = held_to(metrics(**self.normal, batching_rms=1.0, batching_max=4.0), graph=self.graph)
        here = metrics(**self.normal, decisions=None, batching_rms=1.4, batching_max=5.0)
        assert found(here, apart, STRICT) == []

    def test_a_baseline_without_floors_is_enough(self) -> None:
        there = held_to(metrics(**self.normal), {"floor": None}, graph=self.graph)
        assert found(metrics(**self.normal, rmse=None, max_abs=None, decisions=None), there, DEFAULT) == []

    def test_a_policy_of_decisions_alone_judges_nothing(self) -> None:
        policy = own("path: evidence.outputs.*, compare: decisions, severity: block")
        (finding,) = found(metrics(**self.normal), self.there, policy)
        assert (finding.path, finding.unknown) == ("evidence", True)

    @pytest.mark.parametrize("count", [16, 100, 2000])
    @pytest.mark.parametrize("seed", range(8))
    def test_draws_of_one_distribution_pass_whatever_their_number(self, count: int, seed: int) -> None:
        draw = Random(seed)
        runs = [described([draw.gauss(0, 1) for _ in range(count)]) for _ in range(2)]
        shape: dict[str, Any] = {"shape": [count], "elements": count, "decisions": None}
        output = {"shape": [count], "decides": False}
        there = held_to(metrics(**shape, **runs[0]), output, graph=self.graph)
        here = metrics(**shape, rmse=1.0, max_abs=3.0, **runs[1])
        rule = "path: evidence.outputs.*, compare: noise-floor, severity: block"
        assert found(here, there, own(rule)) == []


def described(values: list[float]) -> dict[str, float]:
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return {"low": min(values), "high": max(values), "mean": mean, "deviation": deviation}


class TestOrder:
    """Some applications take outputs by position."""

    names = ("logits", "probabilities")

    def judged(
        self, order: list[str], policy: Policy = DEFAULT, names: tuple[str, ...] = names
    ) -> list[Finding]:
        output = OutputReference(dtype="float32", shape=[180, 10], floor=FLOOR)
        graph = Graph(
            sha256="a" * 64,
            size=1,
            ir_version=8,
            outputs=[TensorSpec(name=n, dtype="float32") for n in names],
        )
        here = {name: metrics(decisions=None) for name in names}
        held = reference(
            graph=graph, outputs=dict.fromkeys(names, output), evidence=evidence(bundle="", outputs=here)
        )
        return judge(held, shared(), evidence(outputs=here, output_order=order), policy)

    def test_training_s_order_passes(self) -> None:
        assert self.judged(list(self.names)) == []

    @pytest.mark.parametrize(("policy", "severity"), [(DEFAULT, "block"), (STRICT, "block")])
    def test_another_is_found(self, policy: Policy, severity: str) -> None:
        (finding,) = self.judged(list(reversed(self.names)), policy)
        assert (finding.path, finding.severity) == ("evidence.output_order", severity)
        assert finding.message == (
            "outputs come in another order: probabilities, logits here, logits, probabilities in training"
        )

    @pytest.mark.parametrize(("policy", "severity"), [(DEFAULT, "block"), (STRICT, "block")])
    def test_one_that_was_not_measured_is_unknown(self, policy: Policy, severity: str) -> None:
        (finding,) = self.judged([], policy)
        assert (finding.severity, finding.unknown) == (severity, True)

    def test_one_output_has_no_order(self) -> None:
        assert self.judged([], STRICT, ("logits",)) == []


class TestFallback:
    providers = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider")

    def judged(self, registered: list[str], policy: Policy = DEFAULT, **changed: Any) -> list[Finding]:
        placement = Placement(source="assignment", nodes={self.providers[0]: {"Conv": 1}})
        there = evidence(bundle="", registered=list(self.providers), placement=placement)
        held = reference(providers=list(self.providers), evidence=there)
        here = evidence(registered=registered, placement=placement, **changed)
        return [one for one in judge(held, shared(), here, policy) if one.path == "evidence.fallbacks"]

    def test_all_of_them_pass(self) -> None:
        assert self.judged(list(self.providers)) == []

    @pytest.mark.parametrize(("policy", "severity"), [(DEFAULT, "warn"), (STRICT, "block")])
    def test_one_that_is_lost_is_named_with_its_library(self, policy: Policy, severity: str) -> None:
        told = {self.providers[1]: "the library libnvinfer.so.10 is missing"}
        (finding,) = self.judged([self.providers[0], self.providers[2]], policy, fallbacks=told)
        assert finding.severity == severity
        assert "TensorrtExecutionProvider (the library libnvinfer.so.10 is missing)" in finding.message

    def test_the_first_one_is_left_to_placement(self) -> None:
        assert self.judged(list(self.providers[1:])) == []


class TestQuantised:
    """One quantum more or less is another rounding, where a quantised graph rounds."""

    def judged(self, *, quantised: bool = True, **changed: Any) -> tuple[list[Finding], set[str]]:
        output = OutputReference(dtype="uint8", shape=[10, 10], exact=True, quantised=quantised)
        held = reference(outputs={"y": output}, evidence=evidence(bundle="", outputs={}, accuracy=None))
        here = metrics(**{"dtype": "uint8", "shape": [10, 10], "elements": 100, **self.none, **changed})
        made = evidence(outputs={"y": here}, accuracy=None)
        states = {one.state for one in measure(held, shared(), made, DEFAULT) if one.output == "y"}
        return judge(held, shared(), made, DEFAULT), states

    none: ClassVar = {"rmse": None, "cosine": None, "decisions": None}
    one: ClassVar = {"differing": 9, "max_abs": 1.0, "within_quantum": 1.0}

    def test_one_quantum_is_drift(self) -> None:
        assert self.judged(differing=0, max_abs=0.0, within_quantum=1.0) == ([], {"pass"})
        findings, states = self.judged(**self.one)
        assert (findings, "drift" in states, "fail" in states) == ([], True, False)

    def test_it_is_a_fault_where_nothing_is_rounded(self) -> None:
        (finding,), states = self.judged(quantised=False, **self.one)
        assert (finding.severity, finding.message) == (
            "block",
            "output y: 9 of 100 elements differ from training",
        )
        assert "fail" in states

    @pytest.mark.parametrize(
        "more", [{"max_abs": 2.0, "within_quantum": 0.99}, {"differing": 51}], ids=["two quanta", "most"]
    )
    def test_more_is_a_fault(self, more: dict[str, Any]) -> None:
        (finding,), states = self.judged(**{**self.one, **more})
        assert (finding.severity, "fail" in states) == ("block", True)
        assert "of 100 elements differ from training, by at most" in finding.message

    @pytest.mark.parametrize(
        "lie", [{"max_abs": 9.0}, {"max_abs": 0.0}, {"max_abs": None}, {"within_quantum": 1.5}]
    )
    def test_shares_that_contradict_the_rest_prove_nothing(self, lie: dict[str, Any]) -> None:
        findings, _ = self.judged(**{**self.one, **lie})
        assert any(one.unknown and one.path == "evidence" for one in findings)


class TestTies:
    """Indices whose scores are tied may change places; FLOOR allows 3.8e-6 of the scores."""

    output = OutputReference(dtype="int64", shape=[9], exact=True, ties=Ties(scores="logits", listed=3))

    def judged(self, **changed: Any) -> tuple[list[Finding], Measure]:
        held = held_to()
        outputs = {**held.baseline.outputs, "top": self.output}
        held = msgspec.structs.replace(held, baseline=msgspec.structs.replace(held.baseline, outputs=outputs))
        values: dict[str, Any] = {
            "dtype": "int64",
            "shape": [9],
            "elements": 9,
            **TestQuantised.none,
            **changed,
        }
        made = evidence(outputs={"logits": metrics(), "top": metrics(**values)})
        (told,) = [one for one in measure(held, shared(), made, DEFAULT) if one.output == "top"]
        return judge(held, shared(), made, DEFAULT), told

    @pytest.mark.parametrize(
        ("gap", "state"),
        [(0.0, "pass"), (3.8e-6, "pass"), (7.6e-6, "drift"), (7.7e-6, "fail"), (1e308, "fail")],
    )
    def test_they_are_held_to_twice_the_tolerance_of_the_scores(self, gap: float, state: str) -> None:
        findings, told = self.judged(differing=2, max_abs=7.0, tie_gap=gap)
        assert (told.metric, told.state) == ("tie_gap", state)
        assert [one.path for one in findings] == ["evidence.outputs.top"] * (state == "fail")
        assert all(
            "2 of 9 indices differ from training, not by ties alone" in one.message for one in findings
        )

    def test_equal_ones_have_no_ties(self) -> None:
        findings, told = self.judged(differing=0, max_abs=0.0)
        assert (findings, told.state) == ([], "pass")

    def test_what_was_not_measured_is_unknown(self) -> None:
        (finding,), told = self.judged(differing=2, max_abs=7.0)
        assert (finding.unknown, finding.severity, told.state) == (True, "block", "unknown")


def test_what_describes_an_output_does_not_contradict_itself() -> None:
    held = held_to()
    for changed in ({"low": 2.0, "high": 1.0}, {"low": 0.0, "high": 1.0, "mean": 3.0}, {"deviation": -1.0}):
        unknown = [one for one in found(metrics(**changed), held, DEFAULT) if one.unknown]
        assert [one.path for one in unknown] == ["evidence"], changed
    assert msgspec.structs.asdict(metrics())["low"] is None
