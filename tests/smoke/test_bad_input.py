"""Bundles and models that nobody should run: refused in words, before anything of theirs is loaded."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.fleet import Commands
from support.tiny_models import SAMPLES, classifier, classifier_bundle, make_bundle, model_bytes, value

from envcheck.contract.baseline import OutputReference
from envcheck.contract.bundle import Bundle, build_bundle, read_bundle
from envcheck.contract.document import encode
from envcheck.contract.evidence import Smoke
from envcheck.errors import BadInput
from envcheck.facts.host import Target
from envcheck.smoke import run as smoke_run
from envcheck.smoke.graph import read_graph
from envcheck.smoke.run import run_smoke


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def smoke(bundle: Bundle, **options: Any) -> Smoke:
    return run_smoke(bundle, Target(), fingerprint="f", quick=True, **options)


def with_inputs(bundle: Bundle, **arrays: NDArray[Any]) -> Bundle:
    """The same release with other golden inputs: what a careless or hostile hand could freeze."""
    return make_bundle(classifier(), arrays, {"y": np.zeros((16, 4))}, {"y": bundle.baseline().outputs["y"]})


def external(location: str) -> bytes:
    model = onnx.load_from_string(classifier())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin", "", "a\x1b[2Jb"])
def test_weights_in_another_file_are_refused_before_a_process_starts(location: str) -> None:
    told: list[str] = []
    ending = smoke(classifier_bundle(model=external(location)), progress=told.append).evidence.ending
    assert (ending.status, told) == ("refused", [])
    assert "weights lie in another file" in ending.reason
    assert "as one file" in ending.hint
    assert "\x1b" not in ending.reason


def test_a_link_beside_the_model_leads_nowhere(tmp_path: Path, commands: Commands) -> None:
    """The bundle lies where a link of that name does: it is refused all the same, and says so."""
    (tmp_path / "weights.bin").symlink_to("/etc/passwd")
    path = tmp_path / "linked.envcheck"
    made = classifier_bundle(model=external("weights.bin"))
    path.write_bytes(build_bundle("tiny@1", made.members))
    said = commands("smoke", str(path), "--quick")
    assert said.code == 1
    assert "refused" in said.out
    assert "weights.bin" in said.out


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": SAMPLES.astype(np.float64)}, "the input 'x' is float64, the model wants float32"),
        ({"x": SAMPLES[:, :7]}, "has the shape [16, 7], the model wants [n, 8]"),
        ({"x": SAMPLES[0]}, "has 1 dimensions [8], the model wants [n, 8]"),
        ({"x": SAMPLES[:0]}, "the input 'x' is empty: its shape is [0, 8]"),
        ({"x": SAMPLES, "z": SAMPLES}, "the model has no input 'z'"),
        ({}, "lacks the input 'x'"),
    ],
)
def test_inputs_that_the_model_does_not_take_are_named(
    digits: Bundle, arrays: dict[str, NDArray[Any]], words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        smoke(with_inputs(digits, **arrays))
    assert words in caught.value.message
    assert "inputs.npz" in caught.value.message


def test_a_model_that_wants_a_sequence_is_told_what_inputs_are(digits: Bundle) -> None:
    model = model_bytes(
        [helper.make_node("SequenceAt", ["x", "i"], ["y"])],
        [
            helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None),
            value("i", TensorProto.INT64, []),
        ],
        [value("y", TensorProto.FLOAT, None)],
    )
    bundle = make_bundle(
        model,
        {"x": SAMPLES, "i": np.array(0)},
        {"y": SAMPLES},
        {"y": OutputReference(dtype="float32", shape=[16, 8])},
    )
    with pytest.raises(BadInput, match="the input 'x' is a sequence in the model") as caught:
        smoke(bundle)
    assert caught.value.hint == "export the model with tensors as inputs"


def test_a_model_that_claims_nothing_of_a_batch_may_be_empty() -> None:
    """Its own declaration says zero: then nothing is what it gets, and nothing is compared."""
    model = model_bytes(
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, [0, 8])],
        [value("y", TensorProto.FLOAT, [0, 8])],
    )
    empty = np.zeros((0, 8), np.float32)
    reference = {"y": OutputReference(dtype="float32", shape=[0, 8])}
    found = smoke(make_bundle(model, {"x": empty}, {"y": empty.astype(np.float64)}, reference)).evidence
    assert (found.ending.status, found.outputs["y"].problem, found.outputs["y"].elements) == ("ok", "", 0)


def test_a_custom_operator_is_refused_and_its_library_never_loaded() -> None:
    model = model_bytes(
        [helper.make_node("Magic", ["x"], ["y"], domain="com.acme")],
        [value("x", TensorProto.FLOAT, ["n", 8])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
        domains=("com.acme",),
    )
    ending = smoke(classifier_bundle(model=model)).evidence.ending
    assert (ending.status, ending.reason) == ("error", "the model needs the custom operator com.acme:Magic")
    assert ending.hint == "it comes from a custom operator library, which envcheck does not load"


def test_a_model_above_two_gigabytes_is_refused_with_what_to_do(
    digits: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit comes down to the model, which is quicker than the other way round."""
    monkeypatch.setattr(smoke_run, "MAX_MODEL", len(digits.members["model.onnx"]) - 1)
    with pytest.raises(BadInput, match="the model is larger than 2 GB") as caught:
        smoke(digits)
    assert caught.value.hint == "freeze a smaller or a quantised model"


def test_a_baseline_that_describes_another_model_is_refused(digits: Bundle) -> None:
    baseline = digits.baseline()
    graph = msgspec.structs.replace(read_graph(classifier(), "m"), sha256="0" * 64)
    changed = encode(msgspec.structs.replace(baseline, graph=graph))
    members = {**digits.members, "baseline.json": changed}
    with pytest.raises(BadInput, match="describes another model"):
        smoke(read_bundle(build_bundle("tiny@1", members), "tiny.envcheck"))


def stored(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def compressed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", data)
    return buffer.getvalue()


HOSTILE: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("a bundle has no member '../../etc/cron.d/x'", lambda _: stored({"../../etc/cron.d/x": b"* * * * *"})),
    ("a bundle has no member '/etc/passwd'", lambda _: stored({"/etc/passwd": b""})),
    ("a bundle has no member 'custom_ops.so'", lambda _: stored({"custom_ops.so": b"\x7fELF"})),
    ("a bundle has no member 'inputs.pkl'", lambda _: stored({"inputs.pkl": b"cos\nsystem\n"})),
    ("is compressed", lambda _: compressed(b"0" * 10_000_000)),
    ("the member model.onny is missing", lambda data: data.replace(b"model.onnx", b"model.onny", 1)),
    ("is truncated", lambda data: data[: len(data) // 2]),
    ("is not an envcheck bundle", lambda _: b"#!/bin/sh\nrm -rf /\n"),
    ("has 7 bytes too many at its end", lambda data: data + b"PADDING"),
    ("its digest is not the manifest's", lambda data: data.replace(b"Softmax", b"Hardmax")),
]


@pytest.mark.parametrize(("words", "alter"), HOSTILE, ids=[words for words, _ in HOSTILE])
def test_a_bundle_with_hostile_members_is_refused_with_exit_code_2(
    digits: Bundle, tmp_path: Path, commands: Commands, words: str, alter: Callable[[bytes], bytes]
) -> None:
    whole = build_bundle("tiny@1", digits.members)
    path = tmp_path / "hostile.envcheck"
    path.write_bytes(alter(whole))
    marker = tmp_path / "started"
    python = tmp_path / "python"
    # It may be started, but waits for its job, and is told of none.
    asked = f'case "$*" in *child.py*) ;; *) exec {sys.executable} "$@" ;; esac'
    wait = 'for place; do :; done; while [ ! -e "$place/job.json" ]; do sleep 0.01; done'
    lines = ["#!/bin/sh", asked, wait, f": > {marker}", f'exec {sys.executable} "$@"', ""]
    python.write_text("\n".join(lines), encoding="ascii")
    python.chmod(0o755)
    said = commands("smoke", str(path), "--python", str(python))
    assert (said.code, said.out) == (2, "")
    assert "hostile.envcheck" in said.err
    assert words in said.err
    assert not marker.exists()
