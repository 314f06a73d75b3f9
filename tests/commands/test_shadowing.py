"""`envcheck smoke --shadow`: a candidate beside the model in service, every exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.fleet import Commands, Said
from support.tiny_models import SAMPLES, WEIGHTS, classifier_bundle, make_bundle, model_bytes, npz, value

from envcheck.contract.baseline import OutputReference
from envcheck.contract.bundle import Bundle, build_bundle
from envcheck.contract.document import decode
from envcheck.contract.shadow import Shadow

FLOAT = TensorProto.FLOAT


def write(path: Path, bundle: Bundle) -> Path:
    path.write_bytes(build_bundle(bundle.manifest.release, bundle.members))
    return path


def linear(weights: Any, *, decides: bool = True) -> Bundle:
    model = model_bytes(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", FLOAT, ["n", 8])],
        [value("y", FLOAT, ["n", 4])],
        {"w": weights},
    )
    output = OutputReference(dtype="float32", shape=[16, 4], decides=decides)
    return make_bundle(model, {"x": SAMPLES}, {"y": SAMPLES[:, :4]}, {"y": output})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(tmp_path / "service.envcheck", linear(WEIGHTS))
    write(tmp_path / "opposite.envcheck", linear(-WEIGHTS))
    write(tmp_path / "numbers.envcheck", linear(WEIGHTS, decides=False))
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded" / "1.npz").write_bytes(npz({"x": SAMPLES}))
    return tmp_path


@pytest.fixture
def beside(files: Path, commands: Commands) -> Any:
    def run(candidate: str, *arguments: object) -> Said:
        return commands(
            *("smoke", files / "service.envcheck", "--shadow", files / f"{candidate}.envcheck"),
            *("--inputs", files / "recorded", "--quick", *arguments),
        )

    return run


def test_a_candidate_that_agrees_is_told_what_to_do_next(beside: Any) -> None:
    said = beside("service")
    assert said.code == 0
    for words in (
        "tiny@1 beside tiny@1 in service, on ",
        "16 samples in 1 file",
        "16 of 16 decisions agree (100%)",
        "the model in service: p50",
        "times as long",
        "shadow: ok (100% agree); say how much must: --min-agreement",
        "exit 0",
    ):
        assert words in " ".join(said.out.split())
    assert "freeze and push the candidate" in beside("service", "--min-agreement", "1").out


def test_too_little_memory_ends_both(beside: Any) -> None:
    said = beside("opposite", "--memory", "40")
    assert said.code == 1
    assert " ".join(said.out.split()).count("with an address space of 40 MiB") == 2


def test_one_that_differs_fails_where_agreement_was_asked_for(beside: Any) -> None:
    assert beside("opposite").code == 0
    said = beside("opposite", "--min-agreement", "0.99")
    assert said.code == 1
    assert "0 of 16 decisions agree (0%), the largest margin" in " ".join(said.out.split())
    assert "1.npz (16)" in said.out
    assert "shadow: FAIL (0% agree, 99% must); look at the files that differ" in " ".join(said.out.split())


def test_agreement_of_what_decides_nothing_is_unknown(beside: Any) -> None:
    said = beside("numbers", "--min-agreement", "0.99")
    assert said.code == 3
    assert "shadow: UNKNOWN (no output decides or is exact)" in said.out
    assert beside("numbers").code == 0


def test_a_document_is_printed_or_written(beside: Any, files: Path) -> None:
    said = beside("opposite", "--json", "--min-agreement", "0.5")
    document = decode(said.out.encode(), Shadow, "stdout")
    assert (said.code, document.agreement, document.differing) == (1, 0.0, {"1.npz": 16})
    said = beside("opposite", "-o", files / "shadow.json")
    assert (said.code, said.out) == (0, "")
    assert decode((files / "shadow.json").read_bytes(), Shadow, "it").samples == 16


def test_a_bad_end_names_its_model_and_exits_1(beside: Any, files: Path) -> None:
    python = files / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *child.py*) kill -ILL $$;; *) exec {sys.executable} "$@";; esac\n'
    )
    python.chmod(0o755)
    said = beside("service", "--python", python)
    assert said.code == 1
    assert "an illegal instruction" in said.out
    assert "did not run to its end" in said.out


def test_a_crash_tells_its_stack(beside: Any, files: Path) -> None:
    (files / "onnxruntime.py").write_text("import ctypes; ctypes.string_at(0)", encoding="ascii")
    (files / "app.env").write_text(f"PYTHONPATH={files}\n", encoding="ascii")
    said = beside("service", "--env-file", files / "app.env")
    told = " ".join(said.out.split())
    assert said.code == 1
    assert "in string_at of ctypes/__init__.py stack string_at of ctypes/__init__.py:" in told
    assert "<module> of onnxruntime.py:1 import_module of importlib/__init__.py:" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shadow", "{0}/opposite.envcheck"], "--shadow needs recorded inputs"),
        (["--inputs", "{0}/recorded"], "--inputs goes with --shadow"),
        (["--min-agreement", "0.9"], "--min-agreement goes with --shadow"),
        (["--shadow", "{0}/no.envcheck", "--inputs", "{0}/recorded"], "there is no such bundle"),
        (["--shadow", "{0}/opposite.envcheck", "--inputs", "{0}/nowhere"], "nowhere does not exist"),
        (["--shadow", "{0}/service.envcheck", "--inputs", "{0}/service.envcheck"], "is no directory"),
        (["--min-agreement", "2"], "2"),
    ],
)
def test_what_does_not_go_together_exits_2(
    arguments: list[str], words: str, files: Path, commands: Commands
) -> None:
    said = commands("smoke", files / "service.envcheck", *(each.format(files) for each in arguments))
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err


def test_recordings_for_another_model_are_refused_by_name(files: Path, beside: Any) -> None:
    (files / "recorded" / "2.npz").write_bytes(npz({"x": SAMPLES.astype(np.float64)}))
    write(files / "other.envcheck", classifier_bundle())
    said = beside("other")
    assert said.code == 2
    assert "2.npz: the input 'x' is float64, the model wants float32 (tiny@1" in said.err
