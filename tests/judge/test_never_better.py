"""Missing, blank, malformed or impossible data never ends as `pass` where a rule that blocks judges it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from support.builders import evidence, metrics, package, reference, sections, shared

from envcheck.contract.baseline import Floor, Graph, OutputReference, SmokeReadings
from envcheck.contract.evidence import Decisions, Ending, Evidence, Placement
from envcheck.contract.fingerprint import Section, SharedFingerprint, SharedSection
from envcheck.contract.policy import Policy
from envcheck.contract.verdict import Outcome
from envcheck.judge.decide import DeviceReadings, decide
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy, load_policy
from envcheck.judge.reference import Reference

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)
OWN = load_policy(
    """
name: own
rules:
  - {path: evidence.outputs.*, compare: decisions, severity: block}
  - {path: packages.*.version, compare: version, severity: info}
  - {path: python.version, compare: version, severity: info, options: {precision: 1}}
  - {path: python.implementation, compare: equal, severity: block}
  - {path: memory.total_mib, compare: at-least, severity: block, options: {share: 0.5}}
  - {path: cuda.driver, compare: specifier, severity: block, options: {specifier: ">=535"}}
""",
    "own.yaml",
)
POLICIES = {name: builtin_policy(name) for name in ("default", "strict", "inventory")} | {"own": OWN}
GPU = ["CUDAExecutionProvider", "CPUExecutionProvider"]
DESCRIBED: dict[str, Any] = {
    "low": 0.01,
    "high": 0.9,
    "mean": 0.1,
    "deviation": 0.2,
    "sum_error": 1e-7,
    "batching_rms": 1e-8,
    "batching_max": 1e-7,
}
TORCH = {**package("2.7.1"), "local": "cu126"}


def environment(**changed: Section) -> SharedFingerprint:
    packages = {**sections()["packages"].shared, "torch": TORCH}
    return shared(
        **{
            "packages": Section(status="ok", shared=packages),
            "cuda": Section(status="ok", shared={"driver": "550.54"}),
            **changed,
        }
    )


def training() -> Reference:
    """A baseline in which every rule has something to hold a device to."""
    outputs = {
        "logits": OutputReference(
            dtype="float32",
            shape=[180, 10],
            decides=True,
            probabilities=True,
            floor=Floor(basis="float64", scale=1.0, rms=1e-7, max=1e-6),
        ),
        "label": OutputReference(dtype="int64", shape=[180], exact=True),
    }
    made = reference(
        graph=Graph(sha256="a" * 64, size=1, ir_version=8, operators={"MatMul": 3}, quantised={"U8S8": 3}),
        outputs=outputs,
        required=["numpy", "onnxruntime", "torch"],
        providers=GPU,
        evidence=measured(bundle=""),
        readings=SmokeReadings(peak_memory_mb=1000.0),
    )
    return msgspec.structs.replace(made, training=environment())


def measured(device: SharedFingerprint | None = None, **changed: Any) -> Evidence:
    values = {
        "requested": GPU,
        "registered": GPU,
        "placement": Placement(source="assignment", nodes={GPU[0]: {"MatMul": 3}, GPU[1]: {"Shape": 2}}),
        "output_order": ["logits", "label"],
        "outputs": {
            "logits": metrics(**DESCRIBED),
            "label": metrics(
                dtype="int64", shape=[180], elements=180, rmse=None, max_abs=0.0, differing=0, decisions=None
            ),
        },
        **changed,
    }
    return evidence(device or environment(), **values)


def outcome(
    device: SharedFingerprint | None,
    measured_there: Evidence | None,
    policy: Policy,
    held_to: Reference | None = None,
) -> Outcome:
    findings = judge(held_to or training(), device, measured_there, policy)
    return decide(findings, DeviceReadings(), {}, (), policy, NOW, release="digits@1.0").outcome


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in plain data, the whole excepted."""
    steps: list[Any] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    for step in steps:
        yield (*path, step)
        yield from paths(value[step], (*path, step))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of plain data with another value, or with nothing (`...`), at `path`."""
    made = copy.deepcopy(value)
    at = made
    for step in path[:-1]:
        at = at[step]
    if new is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return made


BLANKS = (..., None, "", 0, -1, [], {}, False)
WORSE = [float("nan"), float("inf"), -1.0, 1e308]
# What no rule judges: it explains, or it names. Mean and deviation are judged of random models alone.
UNJUDGED = (
    *("requested", "runtime", "libraries", "cosine", "digest", "detail", "signal", "reason", "hint"),
    *("mean", "deviation", "divergence", "ulps"),
    *("astray", "fallbacks", "thread_pools"),
)


def garbled(whole: Any, kind: Any, blanks: tuple[Any, ...] = BLANKS) -> Iterator[tuple[str, Any]]:
    """Every value that differs from `whole` in one blank place and that decoding would let through."""
    plain = full(whole)
    for path in paths(plain):
        for blank in blanks:
            new = changed(plain, path, blank)
            try:
                made = msgspec.convert(new, kind)
            except msgspec.ValidationError:
                continue
            if made != whole:
                yield f"{'.'.join(map(str, path))}={blank!r}", made


def full(value: Any) -> Any:
    """Plain data with every field written, defaults too."""
    if isinstance(value, msgspec.Struct):
        return {name: full(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: full(item) for key, item in value.items()}
    return [full(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", POLICIES)
def test_the_case_passes_when_nothing_is_garbled(name: str) -> None:
    assert outcome(environment(), measured(), POLICIES[name]) == "pass"


def test_garbled_evidence_does_not_pass_under_strict() -> None:
    """Blanks that read as the truth (no element differs: 0) are left out by name."""
    harmless = {
        "outputs.label.max_abs=None",
        "outputs.label.max_abs=Ellipsis",
        "outputs.label.max_abs=0",
        "outputs.logits.rmse=0",
        "outputs.logits.max_abs=0",
        "outputs.logits.differing=0",
        "outputs.label.rmse=0",
        *(f"outputs.logits.{name}=0" for name in ("low", "sum_error", "batching_rms", "batching_max")),
        # Neither output holds indices of a ranking.
        *(f"outputs.{name}.tie_gap=0" for name in ("logits", "label")),
        *(f"outputs.label.{name}={blank}" for name in DESCRIBED for blank in (0, -1)),
        # A name that is not there is in no wrong place.
        *(f"output_order.{index}={blank!r}" for index in (0, 1) for blank in (..., "")),
        # Fewer or other nodes of what is not heavy, or fewer heavy ones where some are proven.
        *(f"placement.nodes.CPUExecutionProvider={blank!r}" for blank in (..., {})),
        "placement.nodes.CPUExecutionProvider.Shape=Ellipsis",
        *(f"registered.1={blank!r}" for blank in (..., "")),
        "registered.0=''",
    }
    passed = []
    for what, made in garbled(measured(), Evidence):
        first, last = what.partition(".")[0].partition("=")[0], what.partition("=")[0].rpartition(".")[2]
        judged = first not in UNJUDGED and last not in UNJUDGED and what not in harmless
        if judged and outcome(environment(), made, POLICIES["strict"]) == "pass":
            passed.append(what)
    assert passed == []


@pytest.mark.parametrize("name", POLICIES)
def test_no_garbled_evidence_breaks_the_judge(name: str) -> None:
    for _, made in garbled(measured(), Evidence):
        outcome(environment(), made, POLICIES[name])


@pytest.mark.parametrize("field", ["rmse", "max_abs"])
@pytest.mark.parametrize("number", WORSE)
@pytest.mark.parametrize("name", ["default", "strict"])
def test_impossible_errors_do_not_pass(name: str, field: str, number: float) -> None:
    outputs = {**measured().outputs, "logits": metrics(**{**DESCRIBED, field: number})}
    assert outcome(environment(), measured(outputs=outputs), POLICIES[name]) != "pass"


@pytest.mark.parametrize("number", [float("nan"), -0.5, 1.5, float("inf")])
def test_an_impossible_accuracy_does_not_pass(number: float) -> None:
    assert outcome(environment(), measured(accuracy=number), POLICIES["default"]) != "pass"


FAULTS: dict[str, dict[str, Any]] = {
    "outputs": {"outputs": {**measured().outputs, "logits": metrics(**DESCRIBED, rmse=0.2, max_abs=2.0)}},
    "decisions": {
        "outputs": {
            **measured().outputs,
            "logits": metrics(decisions=Decisions(total=180, flipped=70, largest_margin=3.0)),
        }
    },
    "non-finite": {
        "outputs": {
            **measured().outputs,
            "logits": metrics(problem="non-finite", rmse=None, max_abs=None, decisions=None),
        }
    },
    "label": {
        "outputs": {
            **measured().outputs,
            "label": metrics(dtype="int64", shape=[180], elements=180, differing=9, decisions=None),
        }
    },
    "accuracy": {"accuracy": 0.5},
    "repeatable": {"repeatable": False},
    "saturates": {"canaries": {"u8s8": "saturates"}},
    "placement": {"placement": Placement(source="assignment", nodes={GPU[1]: {"MatMul": 3}})},
    "fallback": {"registered": [GPU[1]]},
    "crash": {"ending": Ending(status="crash", stage="run")},
}
# What mends the fault itself is a lie about it, not a gap.
MENDED = {
    "outputs": {"outputs.logits.rmse=0", "outputs.logits.max_abs=0"},
    # What is left out of a document has its default: no flips are written as no number.
    "decisions": {
        f"outputs.logits.decisions.{field}={blank!r}"
        for field in ("flipped", "largest_margin")
        for blank in (..., 0)
    },
    "label": {"outputs.label.differing=0"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", POLICIES)
def test_what_is_left_out_never_mends_a_fault(name: str, fault: str) -> None:
    policy, sick = POLICIES[name], measured(**FAULTS[fault])
    if outcome(environment(), sick, policy) == "pass":
        return
    passed = [
        what
        for what, made in garbled(sick, Evidence, (..., None, 0, "", [], {}))
        if outcome(environment(), made, policy) == "pass" and what not in MENDED.get(fault, ())
    ]
    assert passed == []


OTHER = environment(
    python=Section(status="ok", shared={"version": "2.7.18", "implementation": "pypy"}),
    packages=Section(
        status="ok",
        shared={"numpy": package("1.0"), "onnxruntime": package("1.0"), "torch": package("2.7.1")},
    ),
    memory=Section(status="ok", shared={"total_mib": 512}),
    cuda=Section(status="ok", shared={"driver": "470.1"}),
)


@pytest.mark.parametrize("name", ["strict", "inventory", "own"])
@pytest.mark.parametrize("side", ["device", "training"])
def test_sections_that_are_not_there_never_mend_a_fault(name: str, side: str) -> None:
    """Every subset of one section changed in its status, gone, or blank, on either side."""
    policy, facts = POLICIES[name], OTHER
    held_to = training()
    sick = measured(facts)
    assert outcome(facts, sick, policy) == "fail"
    passed = []
    target = facts if side == "device" else held_to.training
    read = {rule.path.partition(".")[0] for rule in policy.rules}
    for what, sections_left in broken_sections(target, read):
        left = SharedFingerprint(digest=facts.digest, sections=sections_left)
        other = msgspec.structs.replace(held_to, training=left) if side == "training" else held_to
        if outcome(left if side == "device" else facts, sick, policy, other) == "pass":
            passed.append(what)
    assert passed == []


def broken_sections(
    whole: SharedFingerprint, read: set[str]
) -> Iterator[tuple[str, dict[str, SharedSection]]]:
    """All the sections that a policy reads broken at once, so that no other fact can save the verdict."""
    others = {name: section for name, section in whole.sections.items() if name not in read}
    yield "gone", others
    for status in ("unreadable", "error", "skipped"):
        yield (
            status,
            others | {name: SharedSection(name=name, status=status) for name in read},
        )
    yield "blank", others | {name: SharedSection(name=name, status="ok") for name in read}


def test_one_section_that_cannot_be_read_is_unknown_where_any_rule_on_it_blocks() -> None:
    """A lenient rule that comes first must not speak for a strict one that follows."""
    policy = load_policy(
        "name: own\nrules:\n"
        "- {path: python.version, compare: version, severity: info}\n"
        "- {path: python.implementation, compare: equal, severity: block}\n",
        "own.yaml",
    )
    device = environment(python=Section(status="unreadable", reason="no permission"))
    assert outcome(device, measured(device), policy) == "unknown"


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("section", sections())
@pytest.mark.parametrize("garbage", [None, 0, "", [], {}, "x" * 200, [1], {"a": 1}, "9" * 5000, 1e308, True])
def test_no_garbled_fact_breaks_the_judge_or_helps(name: str, section: str, garbage: Any) -> None:
    policy = POLICIES[name]
    whole = environment()
    blocking = {rule.path for rule in policy.rules if rule.severity == "block"}
    for path in paths(whole.sections[section].facts):
        facts = changed(whole.sections[section].facts, path, garbage)
        device = environment(**{section: Section(status="ok", shared=facts)})
        found = outcome(device, measured(device), policy)
        read = {".".join((section, *map(str, path))), ".".join((section, "*", *map(str, path[1:])))}
        enough = path == ("total_mib",) and garbage == 1e308
        if policy.evidence == "required":
            # That it runs here is shown by the run, which ended well.
            read -= {"onnxruntime.version", "memory.total_mib"} if name != "own" else set()
        if read & blocking and not enough and path[0] != "rich":
            assert found != "pass", (path, garbage)
