"""Every number stands beside what it was held to, also where all is well; its state is what rules find."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import evidence, metrics, reference, shared

from envcheck.contract.baseline import Floor, OutputReference
from envcheck.contract.canonical import canonical_json
from envcheck.contract.evidence import Decisions, Ending
from envcheck.contract.verdict import Measure
from envcheck.judge.judge import judge
from envcheck.judge.measure import measure
from envcheck.judge.policies import builtin_policy, load_policy

DEFAULT, INVENTORY = builtin_policy("default"), builtin_policy("inventory")


def measured(**changed: Any) -> dict[str, Measure]:
    made = evidence(outputs={"logits": metrics(**changed)})
    return {f"{one.output}.{one.metric}": one for one in measure(reference(), shared(), made, DEFAULT)}


def test_what_passes_is_told_beside_its_tolerance() -> None:
    told = measured(rmse=9e-8, max_abs=9e-7)
    assert told["logits.rmse"] == Measure(
        output="logits", metric="rmse", value=9e-8, tolerance=4 * 2.0**-23, state="pass"
    )
    assert told[".accuracy"].tolerance == pytest.approx(0.95)
    assert told["logits.flipped_margin"].value == 0


@pytest.mark.parametrize(
    ("rmse", "state"),
    [
        (0.0, "pass"),
        (2.3e-7, "pass"),
        (2.5e-7, "drift"),
        (4.7e-7, "drift"),
        (4.8e-7, "fail"),
        (None, "unknown"),
    ],
)
def test_the_states(rmse: float | None, state: str) -> None:
    """Half of what is allowed is more than any healthy machine of the lab shows."""
    assert measured(rmse=rmse, max_abs=1e-6)["logits.rmse"].state == state


def test_another_number_of_best_scores_was_not_measured() -> None:
    output = msgspec.structs.replace(reference().baseline.outputs["logits"], top=3)
    held = reference(outputs={"logits": output})
    for top, state in ((3, "pass"), (1, "unknown")):
        made = evidence(outputs={"logits": metrics(decisions=Decisions(total=180, top=top))})
        told = {one.metric: one.state for one in measure(held, shared(), made, DEFAULT)}
        assert told["flipped_margin"] == state


def test_an_accuracy_below_training_s_is_drift_until_it_fails() -> None:
    for accuracy, state in ((0.96, "pass"), (0.955, "drift"), (0.9, "fail")):
        told = measure(reference(), shared(), evidence(accuracy=accuracy), DEFAULT)
        assert {one.state for one in told if one.metric == "accuracy"} == {state}


def test_of_two_rules_the_stricter_is_told() -> None:
    policy = load_policy(
        "name: own\nrules:\n"
        "- {path: evidence.outputs.*, compare: noise-floor, severity: warn, options: {factor: 50}}\n"
        "- {path: evidence.outputs.logits, compare: equal, severity: info}\n"
        "- {path: evidence.outputs.*, compare: noise-floor, severity: block}\n",
        "own.yaml",
    )
    made = evidence(outputs={"logits": metrics(rmse=1e-6, max_abs=1e-6)})
    told = {one.metric: one for one in measure(reference(), shared(), made, policy)}
    assert (told["rmse"].state, told["rmse"].tolerance) == ("fail", 4 * 2.0**-23)


@pytest.mark.parametrize(
    "made",
    [
        None,
        evidence(bundle="c" * 64),
        evidence(fingerprint="d" * 64),
        evidence(ending=Ending(status="crash", stage="run")),
    ],
)
def test_evidence_that_does_not_count_has_no_measures(made: Any) -> None:
    assert measure(reference(), shared(), made, DEFAULT) == []
    assert measure(reference(), shared(), evidence(), INVENTORY) == []


def test_exact_outputs_are_held_to_nothing() -> None:
    held = reference(outputs={"label": OutputReference(dtype="int64", shape=[180], exact=True)})
    for differing, state in ((0, "pass"), (1, "fail")):
        label = metrics(dtype="int64", shape=[180], elements=180, differing=differing, decisions=None)
        (one,) = [
            one
            for one in measure(held, shared(), evidence(outputs={"label": label}), DEFAULT)
            if one.metric == "differing"
        ]
        assert (one.state, one.tolerance) == (state, 0)


numbers = st.none() | st.floats(min_value=0, max_value=1e6, allow_nan=False)


@given(
    numbers,
    numbers,
    st.integers(0, 180),
    st.floats(0, 10),
    st.sampled_from(["float64", "quantisation-error"]),
)
def test_a_measure_fails_where_and_only_where_a_rule_finds_something(
    rmse: float | None, largest: float | None, flipped: int, margin: float, basis: Any
) -> None:
    floor = Floor(basis=basis, scale=1.0, rms=1e-7, max=1e-6)
    output = OutputReference(dtype="float32", shape=[180, 10], decides=True, floor=floor)
    held = reference(outputs={"logits": output})
    decisions = Decisions(total=180, flipped=flipped, largest_margin=margin)
    made = evidence(outputs={"logits": metrics(rmse=rmse, max_abs=largest, decisions=decisions)})
    rules = [rule for rule in DEFAULT.rules if rule.compare in ("noise-floor", "decisions")]
    policy = msgspec.structs.replace(DEFAULT, rules=rules)
    told = measure(held, shared(), made, policy)
    found = [one for one in judge(held, shared(), made, policy) if one.path != "evidence"]
    states = {one.state for one in told}
    assert bool(states & {"fail", "unknown"}) == bool(found)
    canonical_json(told)
