from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.tiny_models import (
    SAMPLES,
    WEIGHTS,
    classifier,
    classifier_bundle,
    make_bundle,
    model_bytes,
    reference_scores,
    value,
)

from envcheck.commands.common import open_bundle
from envcheck.contract.baseline import OutputReference
from envcheck.contract.bundle import Bundle, build_bundle
from envcheck.contract.document import decode, document_digest, encode
from envcheck.contract.evidence import Evidence, Smoke
from envcheck.errors import BadInput, MissingExtra, Undetermined
from envcheck.facts.host import Target
from envcheck.smoke import placing
from envcheck.smoke.run import count_stages, run_smoke

X = {"x": SAMPLES}
LINE = ([value("x", TensorProto.FLOAT, ["n", 8])], [value("y", TensorProto.FLOAT, ["n", 8])])


def smoke(bundle: Bundle, **options: Any) -> Smoke:
    return run_smoke(bundle, options.pop("target", Target()), fingerprint="f" * 64, **options)


def one_op(op: str, **attributes: Any) -> bytes:
    domain = attributes.get("domain")
    domains = (domain,) if domain else ()
    return model_bytes([helper.make_node(op, ["x"], ["y"], **attributes)], *LINE, domains=domains)


def bundle_of(model: bytes, **changes: Any) -> Bundle:
    """A bundle whose model, in the end, gives what it is given."""
    reference = OutputReference(dtype="float32", shape=[16, 8])
    return make_bundle(model, X, {"y": SAMPLES.astype(np.float64)}, {"y": reference}, **changes)


@pytest.fixture(scope="module")
def stages() -> list[str]:
    """What `whole` was told of its progress."""
    return []


@pytest.fixture(scope="module")
def whole(digits: Bundle, stages: list[str]) -> Smoke:
    return smoke(digits, progress=stages.append)


def test_a_healthy_machine_gives_whole_evidence(digits: Bundle, whole: Smoke) -> None:
    evidence = whole.evidence
    assert (evidence.bundle, evidence.fingerprint) == (digits.sha256, "f" * 64)
    assert (evidence.ending.status, evidence.ending.reason) == ("ok", "")
    assert evidence.requested == evidence.registered == ["CPUExecutionProvider"]
    assert evidence.placement.nodes == {"CPUExecutionProvider": {"MatMul": 1, "Softmax": 1}}
    output = evidence.outputs["y"]
    assert (output.dtype, output.shape, output.problem) == ("float32", [16, 4], "")
    assert output.rmse is not None
    assert 0 < output.rmse < 1e-6
    assert output.decisions is not None
    assert (output.decisions.total, output.decisions.flipped) == (16, 0)
    assert (evidence.repeatable, evidence.accuracy) == (True, 1.0)
    assert evidence.canaries["u8s8"] in ("exact", "saturates")
    assert evidence.runtime.python == sys.version.split()[0]
    assert evidence.runtime.cpu_features
    assert any(library.build_id for library in evidence.libraries)
    assert evidence.fallbacks == evidence.placement.astray == {}
    assert output.low is not None
    assert 0 < output.low < (output.high or 0) < 1
    assert evidence.thread_pools


def test_readings_stay_out_of_the_evidence(whole: Smoke) -> None:
    readings = whole.readings
    assert readings.latency is not None
    assert readings.latency.runs >= 64
    assert readings.latency.min_ms <= readings.latency.p50_ms <= (readings.latency.p90_ms or 0)
    for reading in (readings.import_ms, readings.session_ms, readings.first_run_ms, readings.wall_ms):
        assert reading is not None
        assert reading > 0
    assert readings.throughput is not None
    assert readings.throughput > 16 * 1000 / (readings.latency.p50_ms * 50)
    assert readings.peak_memory_mb is not None
    assert 20 < readings.peak_memory_mb < 1000


def test_latencies_are_taken_in_a_session_of_their_own(whole: Smoke, stages: list[str]) -> None:
    sessions = [stage for stage in stages if stage.startswith("session")]
    assert sessions == ["session model", "session canaries", "session canaries-bfloat16", "session timing"]
    assert [stage for stage in stages if stage.endswith(", timed")] == ["run timing, timed"]
    assert count_stages(whole.evidence.requested, quick=False) == len(sessions)


def test_the_same_machine_gives_the_same_evidence_again(digits: Bundle, whole: Smoke) -> None:
    assert document_digest(smoke(digits).evidence) == document_digest(whole.evidence)


def test_the_model_is_named_by_its_digest(digits: Bundle, whole: Smoke) -> None:
    assert whole.model == digits.baseline().graph.sha256


def test_the_document_reads_back(whole: Smoke) -> None:
    assert decode(encode(whole), Smoke, "smoke") == whole


def test_quick_is_one_session_and_a_short_timing(digits: Bundle) -> None:
    told: list[str] = []
    found = smoke(digits, quick=True, progress=told.append)
    sessions = [stage for stage in told if stage.startswith("session")]
    assert sessions == ["session model", "session canaries", "session canaries-bfloat16"]
    assert found.readings.latency is not None
    assert found.readings.latency.p90_ms is None
    assert (found.evidence.repeatable, found.evidence.outputs["y"].problem) == (True, "")


def test_a_fixed_batch_is_run_in_slices_and_joined() -> None:
    found = smoke(classifier_bundle(batch=4), quick=True).evidence
    assert found.ending.status == "ok"
    assert found.outputs["y"].shape == [16, 4]
    assert (found.outputs["y"].rmse or 1) < 1e-6


def test_a_changed_model_shows_in_the_metrics(digits: Bundle) -> None:
    swapped = model_bytes(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=-1)],
        [value("x", TensorProto.FLOAT, ["n", 8])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
        {"w": np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)},
    )
    reference = OutputReference(dtype="float32", shape=[16, 4], decides=True)
    found = smoke(make_bundle(swapped, X, {"y": reference_scores()}, {"y": reference}), quick=True).evidence
    output = found.outputs["y"]
    assert output.rmse is not None
    assert output.rmse > 0.01
    assert output.decisions is not None
    assert output.decisions.flipped > 0


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([[1, -2], [3, 4]], np.int64), TensorProto.INT64),
        (np.array([[True, False]]), TensorProto.BOOL),
        (np.array([["a", "bö"], ["", "c"]]), TensorProto.STRING),
        (np.array([[0.5, -65504.0]], np.float16), TensorProto.FLOAT16),
        (np.array([[0.1, 1e300]]), TensorProto.DOUBLE),
        (np.array([[7, 255]], np.uint8), TensorProto.UINT8),
    ],
)
def test_every_plain_type_goes_in_and_comes_out(array: NDArray[Any], kind: int) -> None:
    model = model_bytes(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", kind, list(array.shape))],
        [value("y", kind, list(array.shape))],
    )
    exact = array.dtype.kind != "f"
    name = "string" if array.dtype.kind == "U" else array.dtype.name
    reference = OutputReference(dtype=name, shape=list(array.shape), exact=exact)
    wide = array if exact else array.astype(np.float64)
    found = smoke(make_bundle(model, {"x": array}, {"y": wide}, {"y": reference}), quick=True).evidence
    output = found.outputs["y"]
    assert (found.ending.status, output.problem, output.dtype) == ("ok", "", name)
    assert (output.differing if exact else output.max_abs) == 0


def with_ir_version(number: int) -> bytes:
    model = onnx.load_from_string(one_op("Relu"))
    model.ir_version = number
    return bytes(model.SerializeToString())


def with_opset(number: int) -> bytes:
    model = onnx.load_from_string(one_op("Relu"))
    model.opset_import[0].version = number
    return bytes(model.SerializeToString())


BFLOAT = model_bytes(
    [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
    LINE[0],
    [value("y", TensorProto.BFLOAT16, ["n", 8])],
)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (with_ir_version(99), "the model has IR version 99; this onnxruntime supports up to"),
        (with_opset(99), "the model needs opset 99 of ai.onnx; this onnxruntime supports up to"),
        (one_op("Magic", domain="com.acme"), "the model needs the custom operator com.acme:Magic"),
        (one_op("Frobnicate"), "this onnxruntime does not know the operator Frobnicate"),
        (BFLOAT, "the output 'y' is a tensor(bfloat16), which can't be compared"),
    ],
)
def test_a_model_that_this_onnxruntime_cannot_run_is_explained(model: bytes, words: str) -> None:
    found = smoke(bundle_of(model), quick=True).evidence
    assert (found.ending.status, found.ending.stage) == ("error", "session")
    assert found.ending.reason.startswith(words)
    assert found.ending.hint
    assert found.outputs == {}


def test_a_provider_that_is_not_there_is_told_and_what_ran_is_recorded(digits: Bundle) -> None:
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    found = smoke(digits, quick=True, providers=wanted).evidence
    assert (found.requested, found.registered) == (wanted, ["CPUExecutionProvider"])
    assert found.ending.status == "ok"
    reason = "this build of onnxruntime has no such provider: onnxruntime-gpu has it"
    assert found.fallbacks == {"CUDAExecutionProvider": reason}
    assert found.ending.reason == (
        f"CUDAExecutionProvider did not register; CPUExecutionProvider ran in its place: {reason}"
    )


def test_the_baselines_providers_are_asked_for_in_their_order() -> None:
    for wanted in (["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]):
        found = smoke(classifier_bundle(providers=wanted), quick=True).evidence
        assert (found.requested, found.registered) == (wanted, ["CPUExecutionProvider"])
        assert list(found.fallbacks) == wanted[:-1]


def test_neither_side_needs_onnx(digits: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx"]:
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "onnx.py").write_text("raise ImportError('there is no onnx here')", encoding="ascii")
    target = Target(environ={"PYTHONPATH": str(tmp_path)})
    found = smoke(digits, quick=True, target=target).evidence
    assert (found.ending.status, found.outputs["y"].problem) == ("ok", "")


def test_heavy_nodes_that_ran_elsewhere_than_intended_are_named() -> None:
    model = model_bytes(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"], name="layers/first"),
            helper.make_node("MatMul", ["z", "w"], ["v"], name="n" * 500),
            helper.make_node("Relu", ["v"], ["y"], name="light"),
        ],
        *LINE,
        {"w": np.random.default_rng(2).normal(size=(8, 8)).astype(np.float32)},
    )
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    placement = smoke(bundle_of(model), quick=True, providers=wanted).evidence.placement
    assert sum(placement.nodes["CPUExecutionProvider"].values()) >= 2
    first, second = placement.astray["CPUExecutionProvider"]
    assert "layers/first" in first
    assert len(second) == 200
    assert smoke(bundle_of(model), quick=True).evidence.placement.astray == {}


def test_samples_that_depend_on_their_batch_are_found_out() -> None:
    """Each sample minus the mean of its batch: alone it is zero."""
    model = model_bytes(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        *LINE,
    )
    output = smoke(bundle_of(model)).evidence.outputs["y"]
    expected = SAMPLES[:8] - SAMPLES.mean(axis=0)
    assert output.batching_rms == pytest.approx(np.sqrt(np.mean(expected**2)), rel=0.01)
    assert output.batching_max == pytest.approx(np.abs(expected).max(), rel=0.01)


def test_a_batch_that_is_free_gives_the_same_sample_by_sample(whole: Smoke) -> None:
    assert whole.evidence.outputs["y"].batching_max is not None
    assert whole.evidence.outputs["y"].batching_max < 1e-6


def test_batching_is_not_measured_where_it_means_nothing(digits: Bundle) -> None:
    fixed = smoke(classifier_bundle(batch=16)).evidence
    quick = smoke(digits, quick=True).evidence
    assert [found.outputs["y"].batching_max for found in (fixed, quick)] == [None, None]


def test_a_model_that_takes_no_single_sample_is_measured_all_the_same() -> None:
    """Its first axis is free by declaration only: one part of two is always wanted."""
    model = model_bytes([helper.make_node("Split", ["x"], ["y", "z"], axis=0)], LINE[0], LINE[1])
    found = smoke(bundle_of(model)).evidence
    assert (found.ending.status, found.outputs["y"].batching_max) == ("ok", None)


def test_weights_outside_of_the_file_are_refused_before_anything_is_loaded() -> None:
    model = onnx.load_from_string(classifier())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    told: list[str] = []
    found = smoke(bundle_of(model.SerializeToString()), progress=told.append)
    assert found.evidence.ending.status == "refused"
    assert "'../../etc/passwd'" in found.evidence.ending.reason
    assert told == []


def test_a_crash_is_evidence_bound_to_bundle_and_fingerprint(
    digits: Bundle, wrapper: Callable[[str], str]
) -> None:
    found = smoke(digits, target=Target(wrapper("kill -ILL $$"))).evidence
    assert (found.ending.status, found.bundle, found.outputs) == ("crash", digits.sha256, {})
    assert msgspec.json.decode(encode(found), type=Evidence) == found


def test_too_little_memory_is_evidence() -> None:
    found = smoke(bundle_of(one_op("Relu")), memory_limit_mb=40).evidence
    assert (found.ending.status, found.ending.stage) == ("memory", "import")
    assert found.outputs == {}


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_a_deadline_must_leave_some_time(digits: Bundle, deadline: float) -> None:
    with pytest.raises(BadInput, match="the deadline is"):
        smoke(digits, deadline_s=deadline)


def test_an_agent_without_numpy_says_how_to_get_it(digits: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra) as caught:
        smoke(digits)
    assert caught.value.hint == "pip install 'envcheck[smoke]'"


def test_a_temporary_directory_that_cannot_be_used_is_told(
    digits: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(Undetermined, match="no temporary directory"):
        smoke(digits)


def test_a_bundle_that_changes_while_it_is_read_is_not_run(tmp_path: Path) -> None:
    """Checked in its mapped file, altered there, and only then copied for the child."""
    path = tmp_path / "tiny.envcheck"
    made = classifier_bundle()
    path.write_bytes(build_bundle("tiny@1", made.members))
    opened = open_bundle(path)
    before = path.read_bytes()
    at = before.index(WEIGHTS.tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(8))
    told: list[str] = []
    with pytest.raises(BadInput, match="was changed while it was read"):
        smoke(opened, progress=told.append)
    assert "session model" not in told


def test_no_room_for_the_model_is_told(
    digits: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(placing, "_write", full)
    with pytest.raises(Undetermined, match=r"does not fit into .*: No space left on device"):
        smoke(digits)


def test_nothing_is_left_behind(digits: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    smoke(digits, quick=True)
    assert list(tmp_path.iterdir()) == []
