"""`envcheck baseline` as a person uses it: real models, real keys, every exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.example_models import DIGITS
from support.fleet import Commands, Said
from support.tiny_models import SAMPLES, WEIGHTS, classifier, model_bytes, npz, reference_scores, value
from support.tools import need

from envcheck.contract.baseline import Baseline
from envcheck.contract.bundle import read_bundle
from envcheck.contract.document import decode, encode
from envcheck.contract.evidence import Smoke


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(classifier())
    (tmp_path / "inputs.npz").write_bytes(npz({"x": SAMPLES}))
    (tmp_path / "labels.npz").write_bytes(npz({"labels": reference_scores().argmax(axis=1)}))
    return tmp_path


@pytest.fixture
def create(files: Path, commands: Commands) -> Any:
    def run(*arguments: object, name: str = "tiny@1.0") -> Said:
        return commands(
            *("baseline", "create", files / "model.onnx", "--inputs", files / "inputs.npz"),
            *("--name", name, "--quick", "-o", files / "tiny.envcheck", *arguments),
        )

    return run


@pytest.fixture
def key(files: Path, commands: Commands) -> Path:
    path = files / "release.pem"
    assert commands("key", "create", path).code == 0
    return path


def test_a_signed_bundle_is_created_shown_and_verified(
    create: Any, files: Path, key: Path, commands: Commands
) -> None:
    said = create("--labels", files / "labels.npz", "--expect-accuracy", "0.9", "--key", key)
    assert said.code == 0
    assert said.err == ""
    for words in (
        "tiny@1.0, measured ",
        "x float32 [n, 8], 16 samples",
        "double precision",
        "1.000",
        "ready",
    ):
        assert words in said.out
    bundle = files / "tiny.envcheck"
    public = commands("key", "show", key).out.strip()
    assert read_bundle(bundle.read_bytes(), "it").signer() == public

    shown = commands("baseline", "show", bundle)
    assert shown.code == 0
    assert f"by {public}" in shown.out
    as_json = commands("baseline", "show", bundle, "--json")
    assert decode(as_json.out.encode(), Baseline, "it").release == "tiny@1.0"
    assert json.loads(as_json.out)["format"] == "envcheck.baseline/1.0"

    (files / "release.pub").write_text(public + "\n")
    for given in (public, key, files / "release.pub"):
        verified = commands("baseline", "verify", bundle, "--key", given)
        assert verified.code == 0
        assert "verified: that is a key you gave" in verified.out
    assert f"signed by {public}" in commands("baseline", "verify", bundle).out


def test_an_unsigned_bundle_is_whole_but_not_verified_until_it_is_signed(
    create: Any, files: Path, key: Path, commands: Commands
) -> None:
    assert create().code == 0
    bundle = files / "tiny.envcheck"
    bare = commands("baseline", "verify", bundle)
    assert (bare.code, "it is not signed" in bare.out) == (0, True)
    assert commands("baseline", "verify", bundle, "--key", key).code == 1

    assert commands("baseline", "sign", bundle, "--key", key, "-o", files / "signed.envcheck").code == 0
    assert commands("baseline", "verify", bundle, "--key", key).code == 1
    assert commands("baseline", "verify", files / "signed.envcheck", "--key", key).code == 0

    other = files / "other.pem"
    commands("key", "create", other)
    again = commands("baseline", "sign", files / "signed.envcheck", "--key", other)
    assert "is replaced" in again.out
    not_verified = commands("baseline", "verify", files / "signed.envcheck", "--key", key)
    assert (not_verified.code, "NOT verified" in not_verified.out) == (1, True)
    both = commands("baseline", "verify", files / "signed.envcheck", "--key", key, "--key", other)
    assert both.code == 0


def test_the_progress_is_drawn_on_a_terminal_alone(files: Path) -> None:
    terminal, end = pty.openpty()
    command = [
        *(sys.executable, "-m", "envcheck", "baseline", "create", "model.onnx", "--inputs", "inputs.npz"),
        *("--name", "tiny@1.0", "--quick"),
    ]
    drawn: list[bytes] = []

    def draw() -> None:
        # At the end of its last writer a terminal answers with an error.
        with suppress(OSError):
            while data := os.read(terminal, 65536):
                drawn.append(data)

    reader = Thread(target=draw)
    reader.start()
    try:
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        done = subprocess.run(
            command, cwd=files, env=environ, stdout=subprocess.PIPE, stderr=end, check=False
        )
    finally:
        os.close(end)
        reader.join()
        os.close(terminal)
    seen = b"".join(drawn).decode()
    assert done.returncode == 0
    # However quick it was: the last stage stays until the bar is taken away.
    assert "measuring" in seen
    assert "done" in seen
    assert "measuring" not in done.stdout.decode()
    assert "\x1b" not in done.stdout.decode()


def constant_inputs() -> dict[str, bytes]:
    return {"inputs.npz": npz({"x": np.repeat(SAMPLES[:1], 16, axis=0)})}


def logarithm() -> dict[str, bytes]:
    """Of negative numbers there is none."""
    shapes = [value(name, TensorProto.FLOAT, ["n", 8]) for name in ("x", "y")]
    return {"model.onnx": model_bytes([helper.make_node("Log", ["x"], ["y"])], shapes[:1], shapes[1:])}


@pytest.mark.parametrize(
    ("made", "flag"), [(constant_inputs, "--accept-constant"), (logarithm, "--accept-non-finite")]
)
def test_what_is_refused_can_be_accepted(
    create: Any, files: Path, made: Callable[[], dict[str, bytes]], flag: str
) -> None:
    for name, data in made().items():
        (files / name).write_bytes(data)
    refused = create()
    assert refused.code == 2
    assert flag in refused.err
    assert not (files / "tiny.envcheck").exists()
    accepted = create(flag)
    assert accepted.code == 0, accepted.err
    assert (files / "tiny.envcheck").exists()


@pytest.mark.slow
def test_a_machine_that_saturates_can_be_accepted(create: Any, files: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["p"]),
        helper.make_node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    shapes = [value("x", TensorProto.FLOAT, ["n", 8])], [value("y", TensorProto.FLOAT, ["n", 4])]
    weights = {"w": np.round(WEIGHTS * 20).astype(np.int8)}
    (files / "model.onnx").write_bytes(model_bytes(nodes, *shapes, weights))
    python = files / "haswell"
    emulated = f'exec {need("qemu-x86_64-static")} -cpu Haswell {sys.executable} "$@"'
    python.write_text(f"#!/bin/sh\n{emulated}\n", encoding="ascii")
    python.chmod(0o755)
    accepted = create("--python", python, "--accept-saturation")
    assert accepted.code == 0, accepted.err
    assert "int8 products saturate on this machine" in accepted.err


def test_the_best_few_may_be_the_decision(create: Any, files: Path, commands: Commands) -> None:
    said = create("--top", "3")
    assert said.code == 0
    assert "its top 3 are the decision" in " ".join(said.out.split())
    assert "top 3 decisions 16 of 16 as in training" in " ".join(
        commands("smoke", files / "tiny.envcheck", "--quick").out.split()
    )


def test_what_is_damaged_or_no_bundle_is_refused(create: Any, files: Path, commands: Commands) -> None:
    assert create().code == 0
    whole = (files / "tiny.envcheck").read_bytes()
    broken = files / "broken.envcheck"
    for data in (whole[:-100], whole[:2000] + b"?" + whole[2001:], b"hello"):
        broken.write_bytes(data)
        for command in (("verify",), ("show",), ("sign", "--key", files / "release.pem")):
            said = commands("baseline", *command, broken)
            assert said.code == 2
            assert said.err.startswith("error: ")
        assert broken.read_bytes() == data


def test_nothing_half_written_is_left(create: Any, files: Path) -> None:
    (files / "inputs.npz").write_bytes(npz({"image": SAMPLES}))
    before = sorted(path.name for path in files.iterdir())
    said = create()
    assert said.code == 2
    assert "lacks the input 'x'" in said.err
    assert sorted(path.name for path in files.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--labels", "nowhere.npz"), "there is no such file of labels: nowhere.npz"),
        (("--float-model", "nowhere.onnx"), "there is no such model: nowhere.onnx"),
        (("--key", "nowhere.pem"), "there is no such key: nowhere.pem"),
        (("--python", "/nowhere/python"), "there is no interpreter /nowhere/python"),
        (("--deadline", "0"), "the deadline is 0 s"),
        (("-o", "/nowhere/x.envcheck"), "there is no directory /nowhere"),
        (("-o", "/tmp"), "/tmp is a directory"),
        (("--expect-accuracy", "7"), "7"),
        (("--name", "tiny"), "'tiny' is not a release"),
        (("--top", "0"), "0 is not in the range"),
        (("--top", "4"), "no output decides by its top 4: y holds 4"),
    ],
)
def test_bad_options_are_refused(arguments: tuple[str, ...], words: str, create: Any) -> None:
    said = create(*arguments)
    assert said.code == 2
    assert words in said.err


def test_a_bundle_never_overwrites_what_it_is_made_from(create: Any, files: Path) -> None:
    said = create("-o", files / "model.onnx")
    assert said.code == 2
    assert "would be overwritten" in said.err
    assert (files / "model.onnx").read_bytes() == classifier()


def test_no_such_model_is_named(files: Path, commands: Commands) -> None:
    said = commands(
        *("baseline", "create", files / "no.onnx", "--inputs", files / "inputs.npz", "--name", "a@1")
    )
    assert said.code == 2
    assert said.err.startswith(f"error: there is no such model: {files / 'no.onnx'}")


def test_a_model_above_two_gigabytes_is_refused_unread(files: Path, create: Any) -> None:
    with (files / "model.onnx").open("r+b") as file:
        file.truncate(2**31)
    said = create()
    assert said.code == 2
    assert "model.onnx is larger than 2 GB, which no ONNX file can be" in said.err
    assert "quantise it" in said.err


def test_remarks_go_to_stderr(files: Path, create: Any) -> None:
    (files / "inputs.npz").write_bytes(npz({"x": SAMPLES[:2]}))
    said = create()
    assert said.code == 0
    assert "warning: " in said.err
    assert "holds 2 samples" in said.err


def test_files_name_packages_that_count(files: Path, create: Any) -> None:
    (files / "requirements.txt").write_text("rich\nmsgspec==0.0.1\npywin32 ; sys_platform == 'win32'\n")
    said = create("--requirements", files / "requirements.txt", "--package", "Click")
    assert said.code == 0
    assert "requirements.txt, line 2 wants msgspec==0.0.1, training has" in " ".join(said.err.split())
    required = read_bundle((files / "tiny.envcheck").read_bytes(), "it").baseline().required
    assert {"rich", "msgspec", "click", "numpy", "onnxruntime"} <= set(required)
    assert "pywin32" not in required

    (files / "requirements.txt").write_text("# first\nrich\nleft-pad\n")
    said = create("--requirements", files / "requirements.txt")
    assert said.code == 2
    assert "requirements.txt, line 3: left-pad is not installed in the training environment" in said.err
    said = create("--pylock", files / "requirements.txt")
    assert said.code == 2
    assert "is no lock file" in said.err


def test_timings_of_devices_are_kept_by_class(files: Path, create: Any, commands: Commands) -> None:
    assert create().code == 0
    own = read_bundle((files / "tiny.envcheck").read_bytes(), "it").baseline()
    (kind,) = own.timings
    assert own.timings[kind] == own.readings

    assert commands("smoke", files / "tiny.envcheck", "--quick", "-o", files / "smoke.json").code == 0
    smoke = decode((files / "smoke.json").read_bytes(), Smoke, "it")
    assert (smoke.model, smoke.device_class) == (own.graph.sha256, kind)
    (files / "pi.json").write_bytes(encode(msgspec.structs.replace(smoke, device_class="Raspberry Pi 4")))

    said = create("--timing", files / "pi.json")
    assert said.code == 0
    assert "Raspberry Pi 4: p50" in said.out
    timings = read_bundle((files / "tiny.envcheck").read_bytes(), "it").baseline().timings
    assert set(timings) == {kind, "Raspberry Pi 4"}
    assert timings["Raspberry Pi 4"] == smoke.readings

    (files / "model.onnx").write_bytes(classifier(batch=4))
    said = create("--timing", files / "pi.json")
    assert said.code == 2
    assert "pi.json was measured with another model" in said.err


def test_what_the_graph_needs_is_told(files: Path, create: Any) -> None:
    weights = WEIGHTS.copy()
    weights[0, :3] = 1e-40
    model = onnx.load_from_string(classifier())
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    (files / "model.onnx").write_bytes(model.SerializeToString())
    said = create()
    assert said.code == 0
    for words in (
        "32 parameters (float32)",
        "1 MatMul, 1 Softmax",
        "x[0]",
        "3 weights: slow on CPUs",
    ):
        assert words in said.out


def test_the_quantised_example_says_which_scale_was_used(files: Path, commands: Commands) -> None:
    said = commands(
        *("baseline", "create", DIGITS / "transformer-int8.onnx", "--inputs", DIGITS / "inputs.npz"),
        *("--float-model", DIGITS / "transformer.onnx", "--labels", DIGITS / "labels.npz"),
        *("--name", "digits-int8@1.3", "--quick", "-o", files / "int8.envcheck"),
    )
    assert said.code == 0
    for words in ("18 nodes multiply U8S8", "quant. error", "from its float original", "0.978"):
        assert words in said.out
