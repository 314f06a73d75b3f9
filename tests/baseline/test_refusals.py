"""What no baseline is made of, each refused with its name and the way out."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.example_models import digits, example
from support.tiny_models import SAMPLES, classifier, model_bytes, npz, reference_scores, value

from envcheck.baseline.create import Options, create_baseline
from envcheck.baseline.material import Material, Source
from envcheck.baseline.named import NamedPackage
from envcheck.contract.bundle import Bundle
from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput, EnvcheckError, Undetermined
from envcheck.facts.host import Target

Create = Callable[..., Bundle]
FLOAT = TensorProto.FLOAT


def source(data: bytes, name: str) -> Source:
    return Source(data, name)


def single(operator: str, opset: int = 13, domain: str = "", **attributes: Any) -> bytes:
    """A model of one node from x [n, 8] to y."""
    return model_bytes(
        [helper.make_node(operator, ["x"], ["y"], domain=domain, **attributes)],
        [value("x", FLOAT, ["n", 8])],
        [value("y", FLOAT, None)],
        opset=opset,
        domains=(domain,) if domain else (),
    )


def whole() -> bytes:
    """A model of one number, without a batch."""
    node = helper.make_node("Neg", ["x"], ["y"])
    return model_bytes([node], [value("x", FLOAT, [])], [value("y", FLOAT, [])])


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


def constant() -> bytes:
    nodes = [helper.make_node("Mul", ["x", "zero"], ["y"])]
    shapes = [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, ["n", 8])]
    return model_bytes(nodes, *shapes, {"zero": np.zeros(8, np.float32)})


def empty() -> bytes:
    """All rows of which something holds that never does: none."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Greater", ["m", "high"], ["c"]),
        helper.make_node("Compress", ["x", "c"], ["y"], axis=0),
    ]
    shapes = [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, None)]
    return model_bytes(nodes, *shapes, {"high": np.array(1e9, np.float32)}, opset=13)


def external(tmp_path: Path) -> bytes:
    model = onnx.load_from_string(classifier())
    places = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save_model(model, tmp_path / "m.onnx", **places)
    return (tmp_path / "m.onnx").read_bytes()


INPUTS = npz({"x": SAMPLES})
LABELS = npz({"labels": reference_scores().argmax(axis=1)})

CASES: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "no model": ({"model": b"GIF89a"}, {}, "model is not an ONNX file"),
    "no npz": ({"inputs": b"x,y\n1,2\n"}, {}, "inputs is not an npz file"),
    "truncated npz": ({"inputs": INPUTS[:100]}, {}, "inputs is not an npz file"),
    "a pickle": ({"inputs": pickled()}, {}, "Python objects"),
    "another name": ({"inputs": npz({"image": SAMPLES})}, {}, "lacks the input 'x'"),
    "one too many": ({"inputs": npz({"x": SAMPLES, "z": SAMPLES})}, {}, "the model has no input 'z'"),
    "another shape": ({"inputs": npz({"x": SAMPLES[:, :5]})}, {}, "the model wants"),
    "another rank": ({"inputs": npz({"x": SAMPLES[0]})}, {}, "the model wants"),
    "another type": ({"inputs": npz({"x": SAMPLES.astype(np.float64)})}, {}, "is float64"),
    "no sample": ({"inputs": npz({"x": SAMPLES[:0]})}, {}, "is empty"),
    "NaN goes in": ({"inputs": npz({"x": SAMPLES * np.float32("nan")})}, {}, "holds NaN or infinities"),
    "labels too short": (
        {"labels": npz({"labels": np.zeros(15, int)})},
        {},
        "has 15 labels",
    ),
    "labels in float": ({"labels": npz({"labels": np.zeros(16)})}, {}, "not class numbers"),
    "labels that fit nothing": ({"labels": npz({"labels": np.zeros((16, 9), int)})}, {}, "fits no output"),
    "labels are no npz": ({"labels": b"1\n2\n"}, {}, "labels is not an npz file"),
    "permuted labels": (
        {"labels": npz({"labels": reference_scores().argmax(axis=1)[::-1]})},
        {"expect_accuracy": 0.9},
        "0.9 is expected",
    ),
    "nothing to expect from": ({}, {"expect_accuracy": 0.9}, "there are no labels"),
    "NaN comes of an edge case": (
        {"model": single("Log"), "inputs": npz({"x": np.abs(SAMPLES)})},
        {"edge_cases": True},
        "output y: NaN or infinite numbers come of the edge case 'zeros'",
    ),
    "constant but for edge cases": (
        {"inputs": npz({"x": np.repeat(SAMPLES[:1], 16, axis=0)})},
        {"edge_cases": True},
        "these inputs exercise nothing",
    ),
    "no axis of samples": (
        {"model": whole(), "inputs": npz({"x": SAMPLES[0, 0]})},
        {"edge_cases": True},
        "no edge cases can be added",
    ),
    "NaN comes out": ({"model": single("Log")}, {}, "are NaN or infinite in training"),
    "empty": ({"model": empty()}, {}, "output y is empty for these inputs"),
    "always the same": ({"model": constant()}, {}, "these inputs exercise nothing"),
    "unknown operator": ({"model": single("Frobnicate")}, {}, "model does not run here"),
    "unknown domain": ({"model": single("Own", domain="my.ops")}, {}, "model does not run here"),
    "opset of the future": ({"model": single("Neg", opset=999)}, {}, "model does not run here"),
    "unknown provider": ({}, {"providers": ["MoonExecutionProvider"]}, "MoonExecutionProvider"),
    "no such package": (
        {},
        {"packages": [NamedPackage("left-pad", "requirements.txt, line 3")]},
        "requirements.txt, line 3: left-pad is not installed in the training environment",
    ),
}


@pytest.mark.parametrize(("files", "options", "said"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(
    files: dict[str, bytes], options: dict[str, Any], said: str, create: Create
) -> None:
    given = {"model": classifier(), "inputs": INPUTS, **files}
    material = Material(
        source(given["model"], "model"),
        source(given["inputs"], "inputs"),
        source(given["labels"], "labels") if "labels" in given else None,
    )
    with pytest.raises(BadInput) as refused:
        create(material, "tiny@1", **options)
    assert said in refused.value.message
    assert refused.value.hint or "the model wants" in refused.value.message


def test_the_same_with_good_input_is_not_refused(create: Create) -> None:
    material = Material(source(classifier(), "model"), source(INPUTS, "inputs"), source(LABELS, "labels"))
    assert create(material, "tiny@1", expect_accuracy=1.0).baseline().evidence.accuracy == 1.0


def test_weights_in_other_files_are_refused_before_anything_runs(create: Create, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"keeps weights in another file: 'weights\.bin'") as refused:
        create(Material(source(external(tmp_path), "model"), source(INPUTS, "inputs")), "tiny@1")
    assert "external_data=False" in refused.value.hint


def elsewhere(place: str, model: bytes) -> bytes:
    """The same model with its weights at another place."""
    changed = onnx.load_from_string(model)
    for entry in changed.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = place
    return bytes(changed.SerializeToString())


@pytest.mark.parametrize(
    ("place", "how"),
    [
        ("/etc/passwd", "an absolute path"),
        ("C:\\weights.bin", "an absolute path"),
        ("../weights.bin", "outside of its directory"),
        ("a/../../weights.bin", "outside of its directory"),
        ("a\\..\\..\\weights.bin", "outside of its directory"),
        ("link.bin", "a link out of its directory"),
        ("linked/weights.bin", "a link out of its directory"),
    ],
)
def test_weights_out_of_the_models_directory_are_refused(
    place: str, how: str, create: Create, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(b"secret")
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "linked").symlink_to(tmp_path)
    model = Source(elsewhere(place, external(folder)), "m.onnx", folder)
    with pytest.raises(BadInput) as refused:
        create(Material(model, source(INPUTS, "inputs")), "tiny@1")
    assert f"{how}: refused before anything is loaded" in refused.value.message
    assert "onnx.load" not in refused.value.hint


def test_more_weights_than_one_file_holds_are_told_as_such(create: Create, tmp_path: Path) -> None:
    model = Source(external(tmp_path), "m.onnx", tmp_path)
    with (tmp_path / "weights.bin").open("r+b") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(BadInput, match=r"is 3\.0 GB; one ONNX file holds 2 GB") as refused:
        create(Material(model, source(INPUTS, "inputs")), "tiny@1")
    assert "quantise" in refused.value.hint


@pytest.mark.parametrize("release", ["digits", "Digits@1", "digits@", "@1", "a b@1", "../x@1", "digits@1/2"])
def test_a_release_is_name_and_version(release: str, here: Fingerprint) -> None:
    with pytest.raises(BadInput, match="is not a release"):
        create_baseline(example("cnn.onnx"), release, Target(), here, Options())


def test_another_float_original_is_refused(create: Create) -> None:
    material = example("transformer-int8.onnx")
    with pytest.raises(BadInput, match="is itself quantised"):
        create(Material(material.model, material.inputs, None, material.model))
    other = Source(classifier(), "classifier.onnx")
    with pytest.raises(BadInput, match=r"classifier\.onnx is not the float original"):
        create(Material(material.model, material.inputs, None, other))


def test_an_interpreter_without_onnxruntime_is_refused(here: Fingerprint, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {shutil.which("python3")} -S "$@"\n', encoding="ascii")
    bare.chmod(0o755)
    with pytest.raises(EnvcheckError, match="onnxruntime"):
        create_baseline(example("cnn.onnx"), "digits@1", Target(str(bare)), here, Options(quick=True))


def test_a_model_that_takes_too_long_is_undetermined(here: Fingerprint) -> None:
    with pytest.raises(Undetermined, match=r"cnn\.onnx does not run here"):
        create_baseline(example("cnn.onnx"), "digits@1", Target(), here, Options(deadline_s=0.05))


def haswell(directory: Path) -> Target:
    emulator = shutil.which("qemu-x86_64-static")
    path = directory / "haswell"
    path.write_text(f'#!/bin/sh\nexec {emulator} -cpu Haswell {Target().python} "$@"\n', encoding="ascii")
    path.chmod(0o755)
    return Target(str(path))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-x86_64-static") is None, reason="needs qemu-user-static")
def test_a_machine_that_saturates_is_no_place_for_a_quantised_baseline(
    here: Fingerprint, tmp_path: Path
) -> None:
    inputs = {"image": np.load(io.BytesIO(digits("inputs.npz").data))["image"][:16]}
    material = example("transformer-int8.onnx")
    material = Material(material.model, Source(npz(inputs), "inputs"), None, digits("transformer.onnx"))
    with pytest.raises(BadInput, match="int8 products saturate on this machine"):
        create_baseline(material, "digits@1", haswell(tmp_path), here, Options(quick=True))
