"""Baselines of real models, measured by the real runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.example_models import example
from support.tiny_models import SAMPLES, WEIGHTS, classifier, model_bytes, npz, reference_scores, value

from envcheck.baseline.create import Options, create_baseline
from envcheck.baseline.material import Material, Source
from envcheck.baseline.named import NamedPackage, name_package
from envcheck.contract.bundle import BASELINE, MODEL, Bundle, build_bundle, read_bundle
from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import Fingerprint, make_fingerprint
from envcheck.facts.host import Target
from envcheck.smoke.inputs import load_npz
from envcheck.smoke.run import run_smoke

Create = Callable[..., Bundle]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def tiny(model: bytes, inputs: bytes = b"", labels: bytes | None = None) -> Material:
    return Material(
        Source(model, "model.onnx"),
        Source(inputs or npz({"x": SAMPLES}), "inputs.npz"),
        None if labels is None else Source(labels, "labels.npz"),
    )


def references(bundle: Bundle) -> dict[str, Any]:
    return dict(load_npz(bundle.members["reference.npz"], "reference.npz"))


def in_floors(bundle: Bundle) -> float:
    """What the model in `bundle` measures on this machine, in noise floors."""
    evidence = run_smoke(bundle, Target(), fingerprint="f" * 64, quick=True).evidence
    (metrics,) = evidence.outputs.values()
    (output,) = bundle.baseline().outputs.values()
    assert evidence.ending.status == "ok"
    assert output.floor is not None
    assert metrics.rmse is not None
    return metrics.rmse / output.floor.rms


def test_a_float_model_is_held_to_double_precision(cnn: Bundle, here: Fingerprint) -> None:
    baseline = cnn.baseline()
    output = baseline.outputs["logits"]
    assert (output.dtype, output.shape, output.decides, output.exact) == ("float32", [180, 10], True, False)
    assert output.floor is not None
    assert output.floor.basis == "float64"
    assert 2.0**-27 < output.floor.rms / output.floor.scale < 2.0**-20
    assert output.floor.rms < output.floor.max < 20 * output.floor.rms
    assert output.floor.members >= 9  # three levels, one thread count at least, three inputs
    assert references(cnn)["logits"].dtype == np.float64
    assert baseline.samples == 180
    assert baseline.evidence.accuracy == 0.972
    assert {"numpy", "onnxruntime"} <= set(baseline.required) < set(here.sections["packages"].shared)


def test_the_training_machines_own_evidence_is_inside_its_floor(cnn: Bundle) -> None:
    evidence = cnn.baseline().evidence
    metrics, floor = evidence.outputs["logits"], cnn.baseline().outputs["logits"].floor
    assert floor is not None
    assert metrics.rmse is not None
    assert 0 < metrics.rmse <= floor.rms
    assert (evidence.bundle, evidence.ending.status, evidence.registered) == (
        "",
        "ok",
        ["CPUExecutionProvider"],
    )
    assert in_floors(cnn) <= 1.01


def perturbed(bundle: Bundle, share: float) -> Bundle:
    """The same release with every weight changed by `share` of its value, and a manifest that says so."""
    rng = np.random.default_rng(3)
    model = onnx.load_from_string(bundle.members[MODEL])
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            changed = (array * (1 + share * rng.normal(size=array.shape))).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    data = model.SerializeToString()
    baseline = bundle.baseline()
    graph = msgspec.structs.replace(baseline.graph, sha256=digest(data))
    changed_baseline = encode(msgspec.structs.replace(baseline, graph=graph))
    members = {**bundle.members, MODEL: data, BASELINE: changed_baseline}
    return read_bundle(build_bundle(baseline.release, members), "perturbed")


def test_weights_changed_by_a_millionth_stand_out(cnn: Bundle, create: Create) -> None:
    assert in_floors(perturbed(cnn, 1e-6)) > 3
    assert in_floors(perturbed(create(example("transformer.onnx")), 1e-6)) > 3


def test_a_quantised_model_is_held_to_its_quantisation_error(int8: Bundle, create: Create) -> None:
    with_original = int8.baseline().outputs["logits"].floor
    told: list[str] = []
    bundle = create(example("transformer-int8.onnx"), notice=told.append)
    without = bundle.baseline().outputs["logits"].floor
    assert with_original is not None
    assert without is not None
    assert (with_original.basis, without.basis) == ("quantisation-error", "quantum")
    assert 0.005 < with_original.rms / with_original.scale < 0.03
    # The substitute is honest: it is of the size of what it stands for.
    assert 0.5 < without.rms / with_original.rms < 2
    assert any("no float original was given" in line for line in told)
    assert int8.baseline().graph.quantised == {"U8S8": 18}
    assert in_floors(int8) < 1


def test_nothing_of_the_device_travels(cnn: Bundle, here: Fingerprint) -> None:
    inside = cnn.fingerprint()
    assert inside.digest == here.digest == cnn.baseline().evidence.fingerprint
    assert all(not section.device and not section.readings for section in inside.sections.values())
    assert any(section.device for section in here.sections.values())


def test_equal_measurements_make_equal_bytes(create: Create) -> None:
    def make() -> Bundle:
        return create(tiny(classifier()), "tiny@1", created_at="2026-01-01T00:00:00Z")

    one, other = make(), make()
    assert {n: d for n, d in one.members.items() if n != BASELINE} == {
        n: d for n, d in other.members.items() if n != BASELINE
    }
    blank = {"readings": one.baseline().readings}
    assert msgspec.structs.replace(other.baseline(), **blank) == one.baseline()


def test_the_reference_is_the_sum_done_in_double(create: Create) -> None:
    bundle = create(tiny(classifier()), "tiny@1")
    assert bundle.baseline().outputs["y"].floor.basis == "float64"  # type: ignore[union-attr]
    np.testing.assert_allclose(references(bundle)["y"], reference_scores(), rtol=1e-13)


def test_a_fixed_batch_takes_its_samples_in_slices(create: Create) -> None:
    bundle = create(tiny(classifier(batch=4)), "tiny@1")
    assert bundle.baseline().samples == 16
    assert bundle.baseline().outputs["y"].shape == [16, 4]
    np.testing.assert_allclose(references(bundle)["y"], reference_scores(), rtol=1e-13)


def two_outputs() -> bytes:
    return model_bytes(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
        ],
        [value("x", FLOAT, ["n", 8])],
        [value("best", INT64, ["n"]), value("y", FLOAT, ["n", 4])],
        {"w": WEIGHTS},
    )


def test_integers_are_exact_and_may_be_what_labels_are_compared_with(create: Create) -> None:
    labels = (SAMPLES @ WEIGHTS).argmax(axis=1)
    labels[:4] += 1
    bundle = create(tiny(two_outputs(), labels=npz({"best": labels})), "tiny@1")
    best = bundle.baseline().outputs["best"]
    assert (best.exact, best.floor, best.dtype) == (True, None, "int64")
    assert bundle.baseline().outputs["y"].floor is not None
    assert references(bundle)["best"].dtype == np.int64
    assert bundle.baseline().evidence.accuracy == 0.75


def rounded_to_quanta() -> bytes:
    """A quantised product that is served in quanta, once as it is and once as its class, both uint8."""
    weights = np.clip(np.round(WEIGHTS * 40), -127, 127).astype(np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "middle"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "middle"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "t"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["z"]),
        helper.make_node("QuantizeLinear", ["z", "u", "middle"], ["zq"]),
        helper.make_node("Transpose", ["zq"], ["quanta"], perm=[0, 1]),
        helper.make_node("ArgMax", ["z"], ["best"], axis=1),
        helper.make_node("Cast", ["best"], ["class"], to=TensorProto.UINT8),
    ]
    constants = {
        **{name: np.array(scale, np.float32) for name, scale in {"s": 0.03, "t": 0.025, "u": 0.1}.items()},
        "middle": np.array(128, np.uint8),
        "wq": weights,
    }
    outputs = [value("quanta", TensorProto.UINT8, ["n", 4]), value("class", TensorProto.UINT8, ["n", 1])]
    return model_bytes(nodes, [value("x", FLOAT, ["n", 8])], outputs, constants)


def test_quanta_are_told_from_classes(create: Create) -> None:
    outputs = create(tiny(rounded_to_quanta()), "quanta@1").baseline().outputs
    kinds = {name: (one.dtype, one.exact, one.quantised) for name, one in outputs.items()}
    assert kinds == {"quanta": ("uint8", True, True), "class": ("uint8", True, False)}


def logarithm() -> bytes:
    return model_bytes(
        [helper.make_node("Log", ["x"], ["y"])],
        [value("x", FLOAT, ["n", 8])],
        [value("y", FLOAT, ["n", 8])],
    )


def test_what_is_meant_can_be_said(create: Create) -> None:
    meant = create(tiny(logarithm()), "log@1", accept_non_finite=True)
    assert np.isnan(references(meant)["y"]).sum() == (SAMPLES < 0).sum()
    floor = meant.baseline().outputs["y"].floor
    assert floor is not None
    assert 0 < floor.rms < floor.scale
    assert meant.baseline().evidence.outputs["y"].problem == ""

    same = np.repeat(SAMPLES[:1], 16, axis=0)
    assert (
        create(tiny(classifier(), npz({"x": same})), "same@1", accept_constant=True).baseline().samples == 16
    )


def test_few_samples_are_remarked_on(create: Create) -> None:
    told: list[str] = []
    create(tiny(classifier(), npz({"x": SAMPLES[:3]})), "tiny@1", notice=told.append)
    assert any("holds 3 samples; 16 or more show more" in line for line in told)


def test_packages_can_be_named(create: Create) -> None:
    bundle = create(tiny(classifier()), "tiny@1", packages=[name_package("Packaging", "here"), "Rich"])
    assert {"packaging", "rich"} <= set(bundle.baseline().required)


def test_a_local_version_is_a_part_of_the_version(here: Fingerprint) -> None:
    packages = here.sections["packages"]
    shared = {**packages.shared, "rich": {**packages.shared["rich"], "version": "15.0", "local": "own"}}
    sections = {**here.sections, "packages": msgspec.structs.replace(packages, shared=shared)}
    changed = make_fingerprint(sections, here.captured_at, here.agent)
    told: list[str] = []
    for wanted in ("own", "another"):
        named = [NamedPackage("rich", "r.txt, line 1", f"==15.0+{wanted}")]
        options = Options(quick=True, packages=named)
        create_baseline(tiny(classifier()), "tiny@1", Target(), changed, options, notice=told.append)
    assert told == ["r.txt, line 1 wants rich==15.0+another, training has 15.0+own"]


def test_progress_names_every_session(create: Create) -> None:
    from envcheck.baseline.create import count_stages

    stages: list[str] = []
    material = example("transformer-int8.onnx", "transformer.onnx")
    create(material, progress=stages.append)
    assert sum(stage.startswith("session") for stage in stages) == count_stages(material, Options(quick=True))
