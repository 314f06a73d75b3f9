"""`envcheck check`: this machine held to a bundle, in real interpreters and on a CPU that saturates."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support.fleet import EXAMPLES, Commands
from support.interpreters import interpreters, newest_onnxruntime, venv_with
from support.tools import missing, need


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create(tmp_path_factory.mktemp("bundles"), "cnn")


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    return create(directory, "transformer-int8", "--float-model", EXAMPLES / "transformer.onnx")


def create(directory: Path, model: str, *options: object) -> Path:
    """Make a bundle by the command, as a person does."""
    path = directory / f"{model}.envcheck"
    command = [
        *(Path(sys.executable).with_name("envcheck"), "baseline", "create", EXAMPLES / f"{model}.onnx"),
        *("--inputs", EXAMPLES / "inputs.npz", "--labels", EXAMPLES / "labels.npz"),
        *("--name", f"{model}@1.0", "-o", path, *options),
    ]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("policy", ["default", "strict", "inventory"])
def test_the_training_environment_passes(cnn: Path, policy: str, commands: Commands) -> None:
    # What a quick run leaves out is unknown under `strict`.
    length = () if policy == "strict" else ("--quick",)
    said = commands("check", cnn, *length, "--policy", policy)
    assert said.code == 0, said.out + said.err
    assert "verdict: pass" in said.out
    assert "180 of 180 decisions as in training" in said.out


def test_json_is_the_verdict_document(cnn: Path, commands: Commands) -> None:
    said = commands("check", cnn, "--quick", "--json")
    verdict = json.loads(said.out)
    assert (said.code, verdict["outcome"], verdict["release"]) == (0, "pass", "cnn@1.0")


def test_a_model_that_can_not_run_fails_and_says_why(cnn: Path, tmp_path: Path, commands: Commands) -> None:
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    said = commands("check", cnn, "--quick", "--python", bare / "bin" / "python")
    assert said.code == 1
    assert "FAIL    run" in said.out
    assert "pip install" in said.out


def test_a_run_that_hangs_fails(cnn: Path, tmp_path: Path, commands: Commands) -> None:
    hanging = tmp_path / "python"
    # It answers what asks it who it is, and hangs when it is to run the model.
    hanging.write_text(
        f'#!/bin/sh\ncase "$*" in *child.py*) exec sleep 600;; esac\nexec {sys.executable} "$@"\n'
    )
    hanging.chmod(0o755)
    said = commands("check", cnn, "--python", hanging, "--deadline", "2")
    assert said.code == 1
    assert "2 s" in said.out


def test_too_little_memory_fails_and_is_named(cnn: Path, commands: Commands) -> None:
    said = commands("check", cnn, "--quick", "--memory", "40")
    told = " ".join(said.out.split())
    assert said.code == 1
    assert "with an address space of 40 MiB" in told
    assert "cause memory does not suffice" in told


def test_a_budget_that_is_exceeded_fails(cnn: Path, tmp_path: Path, commands: Commands) -> None:
    policy = tmp_path / "fast.yaml"
    policy.write_text(
        "name: fast\nbudget: {p50_ms: 0.000001}\n"
        "rules: [{path: evidence.outputs.*, compare: noise-floor, severity: block}]\n"
    )
    said = commands("check", cnn, "--quick", "--policy", policy)
    assert said.code == 1
    assert "budget 1e-06 ms" in said.out


def test_another_deployed_model_fails(cnn: Path, tmp_path: Path, commands: Commands) -> None:
    config = tmp_path / "config.yaml"
    for model, code in (("cnn.onnx", 0), ("none.onnx", 3), ("transformer.onnx", 1)):
        config.write_text(f"model: {EXAMPLES / model}\n")
        said = commands("check", cnn, "--quick", "--config", config)
        assert said.code == code, said.out + said.err
    assert "another model file is deployed" in said.out


def test_numbers_stand_beside_their_tolerances(cnn: Path, commands: Commands) -> None:
    assert "allowed), largest error" in " ".join(commands("check", cnn, "--quick").out.split())
    measures = json.loads(commands("check", cnn, "--quick", "--json").out)["measures"]
    assert {"rmse", "max_abs", "accuracy"} <= {one["metric"] for one in measures if one["state"] == "pass"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/nonexistent.envcheck",), "there is no such bundle"),
        ((EXAMPLES / "cnn.onnx",), "not an envcheck bundle"),
        (("{cnn}", "--policy", "lenient"), "there is no policy"),
        (("{cnn}", "--policy", "/nonexistent.yaml"), "there is no such policy"),
        (("{cnn}", "--python", "/nonexistent/python"), "/nonexistent/python"),
        (("{cnn}", "--python", "/bin/true"), "Python"),
        (("{cnn}", "--deadline", "0"), "deadline"),
        (("{cnn}", "--config", "/nonexistent.yaml"), "there is no configuration file"),
    ],
)
def test_bad_input_is_named(
    arguments: tuple[object, ...], message: str, cnn: Path, commands: Commands
) -> None:
    said = commands("check", *(str(each).replace("{cnn}", str(cnn)) for each in arguments))
    assert said.code == 2, said.out + said.err
    assert message in said.err
    assert "Traceback" not in said.err


@pytest.mark.slow
def test_every_python_has_the_outputs_of_training(cnn: Path, commands: Commands) -> None:
    """Float models: one noise floor holds across Python, numpy and onnxruntime versions."""
    for version, python in interpreters().items():
        serving = venv_with(python, [newest_onnxruntime(version)])
        said = commands("check", cnn, "--quick", "--python", serving)
        assert said.code == 0, f"Python {version}: {said.out}{said.err}"


@pytest.mark.slow
def test_a_saturating_cpu_is_found_and_named(int8: Path, tmp_path: Path, commands: Commands) -> None:
    """AVX2 without VNNI: wrong integers without any error. The example that the project is about."""
    emulated = emulated_python(tmp_path, "Haswell")
    said = commands("check", int8, "--quick", "--python", emulated)
    assert said.code == 1, said.out + said.err
    assert "the quantisation error (2x allowed)" in said.out
    assert "int8 products saturate" in said.out
    assert "uint8 weights" in " ".join(said.out.split())


@pytest.mark.slow
def test_the_same_cpu_serves_the_float_model_as_in_training(
    cnn: Path, tmp_path: Path, commands: Commands
) -> None:
    said = commands("check", cnn, "--quick", "--python", emulated_python(tmp_path, "Haswell"))
    assert said.code == 0, said.out + said.err
    assert "verdict: pass" in said.out


@pytest.mark.slow
def test_a_cpu_that_does_not_saturate_passes(int8: Path, tmp_path: Path, commands: Commands) -> None:
    """SSE alone multiplies exactly: slow, and right."""
    said = commands("check", int8, "--quick", "--python", emulated_python(tmp_path, "Nehalem"))
    assert said.code == 0, said.out + said.err


def emulated_python(directory: Path, cpu: str) -> Path:
    """This interpreter under user-mode emulation of an x86-64 processor."""
    if platform.machine() != "x86_64":
        missing("emulating an x86-64 processor needs this interpreter to be of that architecture")
    wrapper = directory / f"python-{cpu}"
    wrapper.write_text(f'#!/bin/sh\nexec {need("qemu-x86_64-static")} -cpu {cpu} {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper
