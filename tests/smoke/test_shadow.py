"""A candidate beside the model in service, both really run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_models import (
    SAMPLES,
    WEIGHTS,
    classifier,
    classifier_bundle,
    make_bundle,
    model_bytes,
    npz,
    value,
)

from envcheck.contract.baseline import OutputReference
from envcheck.contract.bundle import Bundle, build_bundle, read_bundle
from envcheck.contract.document import encode
from envcheck.contract.evidence import Decisions
from envcheck.contract.shadow import Shadow
from envcheck.errors import BadInput
from envcheck.facts.host import Target
from envcheck.smoke.graph import read_graph
from envcheck.smoke.shadow import run_shadow

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Run = Callable[..., Shadow]


def candidate(model: bytes) -> Bundle:
    """The small bundle under another name and with another model."""
    bundle = classifier_bundle()
    changes = {"name": "candidate", "graph": read_graph(model, "candidate")}
    baseline = encode(msgspec.structs.replace(bundle.baseline(), **changes))
    members = {**bundle.members, "baseline.json": baseline, "model.onnx": model}
    return read_bundle(build_bundle("candidate@1", members), "candidate")


def perturbed(scale: float) -> bytes:
    model = onnx.load_from_string(classifier())
    noise = np.random.default_rng(1).normal(size=WEIGHTS.shape) * scale
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array((WEIGHTS + noise).astype(np.float32), "w"))
    return bytes(model.SerializeToString())


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    folder.mkdir()
    for number, part in enumerate((SAMPLES[:10], SAMPLES[10:12], SAMPLES[12:])):
        (folder / f"{number}.npz").write_bytes(npz({"x": part}))
    (folder / "notes.txt").write_text("not an input")
    return folder


@pytest.fixture
def beside(recorded: Path) -> Run:
    def run(other: Bundle, service: Bundle | None = None, **changes: Any) -> Shadow:
        settings = {"fingerprint": "f" * 64, "quick": True, **changes}
        return run_shadow(service or classifier_bundle(), other, recorded, Target(), **settings)

    return run


def test_the_best_few_are_compared_where_the_baselines_say_so(beside: Run) -> None:
    bundle = classifier_bundle()
    output = msgspec.structs.replace(bundle.baseline().outputs["y"], top=3)
    baseline = encode(msgspec.structs.replace(bundle.baseline(), outputs={"y": output}))
    members = {**bundle.members, "baseline.json": baseline}
    service = read_bundle(build_bundle("tiny@1", members), "service")
    decisions = beside(classifier_bundle(), service).outputs["y"].decisions
    assert decisions == Decisions(total=16, top=3)


def scores(weights: Any) -> Any:
    raised = np.exp(SAMPLES.astype(float) @ weights.astype(float))
    return raised / raised.sum(axis=1, keepdims=True)


def test_a_model_beside_itself_agrees_in_every_bit(beside: Run) -> None:
    found = beside(classifier_bundle())
    assert (found.release, found.candidate, found.files, found.samples) == ("tiny@1", "tiny@1", 3, 16)
    assert {side: ending.status for side, ending in found.endings.items()} == {
        "service": "ok",
        "candidate": "ok",
    }
    output = found.outputs["y"]
    assert (output.agreement, output.rmse, output.max_abs, output.elements) == (1.0, 0.0, 0.0, 64)
    assert (found.agreement, found.differing) == (1.0, {})
    assert found.readings["service"].latency is not None
    assert found.readings["service"].latency.runs == 20
    assert found.latency_ratio is not None
    assert found.latency_ratio > 0


def test_another_model_is_counted_over_all_files(beside: Run, recorded: Path) -> None:
    other = perturbed(0.4)
    weights = numpy_helper.to_array(onnx.load_from_string(other).graph.initializer[0])
    here, there = scores(weights), scores(WEIGHTS)
    flipped = here.argmax(axis=1) != there.argmax(axis=1)
    assert flipped.any()
    found = beside(candidate(other))
    output = found.outputs["y"]
    assert output.decisions is not None
    assert (output.decisions.total, output.decisions.flipped) == (16, flipped.sum())
    assert output.agreement == pytest.approx(1 - flipped.mean())
    assert output.rmse == pytest.approx(np.sqrt(np.mean((here - there) ** 2)), rel=0.01)
    assert output.max_abs == pytest.approx(np.abs(here - there).max(), rel=0.01)
    assert output.scale == pytest.approx(np.sqrt(np.mean(there**2)), rel=0.01)
    parts = {"0.npz": flipped[:10], "1.npz": flipped[10:12], "2.npz": flipped[12:]}
    assert found.differing == {name: part.sum() for name, part in parts.items() if part.any()}
    assert list(found.differing.values()) == sorted(found.differing.values(), reverse=True)


def test_a_fixed_batch_runs_beside_a_free_one(beside: Run) -> None:
    found = beside(candidate(classifier(batch=2)))
    assert found.agreement == 1.0
    assert found.outputs["y"].elements == 64


def arg_max(kind: str = "ArgMax") -> Bundle:
    model = model_bytes(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node(kind, ["z"], ["y"], axis=1, keepdims=0),
        ],
        [value("x", FLOAT, ["n", 8])],
        [value("y", INT64, ["n"])],
        {"w": WEIGHTS},
    )
    output = OutputReference(dtype="int64", shape=[16], exact=True)
    return make_bundle(model, {"x": SAMPLES}, {"y": np.zeros(16, np.int64)}, {"y": output})


def test_exact_elements_are_counted(beside: Run) -> None:
    found = beside(arg_max("ArgMin"), arg_max())
    assert found.agreement == 0.0
    assert sum(found.differing.values()) == 16
    assert found.outputs["y"].rmse is None


def test_what_can_not_be_compared_is_told(beside: Run) -> None:
    found = beside(arg_max())
    assert found.outputs["y"].problem == "it is float32 in service, int64 of the candidate"
    assert found.agreement == 0.0


def with_outputs(*names: str) -> Bundle:
    model = model_bytes(
        [helper.make_node("MatMul", ["x", "w"], [name]) for name in names],
        [value("x", FLOAT, ["n", 8])],
        [value(name, FLOAT, ["n", 4]) for name in names],
        {"w": WEIGHTS},
    )
    references = {name: OutputReference(dtype="float32", shape=[16, 4], decides=True) for name in names}
    return make_bundle(model, {"x": SAMPLES}, dict.fromkeys(names, SAMPLES[:, :4]), references)


def test_outputs_of_one_model_alone_are_told(beside: Run) -> None:
    more = beside(with_outputs("y", "extra"), with_outputs("y"))
    assert more.outputs["extra"].problem == "only the candidate gives it"
    assert more.agreement == 1.0
    less = beside(with_outputs("y"), with_outputs("y", "extra"))
    assert less.outputs["extra"].problem == "only the model in service gives it"
    assert less.agreement == 0.0
    with pytest.raises(BadInput, match=r"no output in common: tiny@1 \(service\) gives a; .* gives b"):
        beside(with_outputs("b"), with_outputs("a"))


def logarithm(operator: str) -> Bundle:
    nodes = [helper.make_node(operator, ["x"], ["y"])]
    model = model_bytes(nodes, [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, ["n", 8])])
    output = OutputReference(dtype="float32", shape=[16, 8])
    return make_bundle(model, {"x": SAMPLES}, {"y": SAMPLES.astype(float)}, {"y": output})


def test_numbers_alone_agree_in_nothing_that_could_be_counted(beside: Run) -> None:
    found = beside(logarithm("Neg"), logarithm("Identity"))
    assert found.agreement is None
    assert found.outputs["y"].rmse == pytest.approx(2 * np.sqrt(np.mean(SAMPLES**2)), rel=0.01)
    odd = beside(logarithm("Log"), logarithm("Neg"))
    assert "NaN or infinite in service" in odd.outputs["y"].problem


def test_the_model_that_ends_badly_is_named(beside: Run) -> None:
    broken = onnx.load_from_string(classifier())
    broken.graph.node[0].op_type = "Frobnicate"
    found = beside(candidate(broken.SerializeToString()))
    assert found.endings["service"].status == "ok"
    assert found.endings["candidate"].status == "error"
    assert "Frobnicate" in found.endings["candidate"].reason
    assert found.outputs == {}
    other = beside(classifier_bundle(), candidate(broken.SerializeToString()))
    assert other.endings["service"].status == "error"
    assert other.endings["candidate"].reason == "it was not reached"


def other_input() -> Bundle:
    return candidate(classifier().replace(b"\x01x", b"\x01z"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: [path.unlink() for path in folder.glob("*.npz")], "holds no .npz file"),
        (lambda folder: (folder / "3.npz").write_bytes(b"junk"), "3.npz is not an npz file"),
        (lambda folder: (folder / "3.npz").write_bytes(npz({"x": SAMPLES[:, :4]})), "has the shape [16, 4]"),
        (lambda folder: (folder / "3.npz").write_bytes(npz({"q": SAMPLES})), "lacks the input 'x'"),
        (lambda folder: (folder / "3.npz").mkdir(), "3.npz can't be read"),
        (lambda folder: [(folder / f"x{n}.npz").touch() for n in range(600)], "holds 603 .npz files"),
        (lambda folder: folder.rename(folder.with_name("gone")), "does not exist"),
    ],
)
def test_recordings_that_can_not_be_used_are_named(
    spoil: Callable[[Path], Any], words: str, recorded: Path, beside: Run
) -> None:
    spoil(recorded)
    with pytest.raises(BadInput) as refused:
        beside(classifier_bundle())
    assert words in refused.value.message


def test_inputs_that_fit_one_model_alone_are_refused(beside: Run) -> None:
    with pytest.raises(
        BadInput, match="the models take different inputs: tiny@1 wants x; candidate@1 wants z"
    ):
        beside(other_input())
    wider = model_bytes(
        [helper.make_node("Softmax", ["x"], ["y"])],
        [value("x", FLOAT, ["n", 9])],
        [value("y", FLOAT, ["n", 9])],
    )
    with pytest.raises(BadInput, match=r"0\.npz: .*\(candidate@1; tiny@1 takes this file\)"):
        beside(candidate(wider))
