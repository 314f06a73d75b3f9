from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.tools import need

from envcheck.contract.bundle import Bundle
from envcheck.facts.host import Target
from envcheck.smoke.canaries import canary_inputs, canary_model, read_canaries
from envcheck.smoke.run import run_smoke

ROOT = Path(__file__).parents[2]


def test_the_shipped_bytes_are_what_the_script_builds() -> None:
    spec = importlib.util.spec_from_file_location("make_canaries", ROOT / "scripts/make_canaries.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert canary_model() == module.canary_graph()


def test_they_run_here_and_say_something_known() -> None:
    session = onnxruntime.InferenceSession(canary_model(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, dict(np.load(io.BytesIO(canary_inputs()))))
    said = read_canaries(dict(zip(names, outputs, strict=True)))
    assert said["u8s8"] in ("exact", "saturates")
    assert said["fma"] in ("fused", "separate")
    assert said["denormals"] in ("kept", "flushed")
    assert all(len(said[name]) == 12 for name in ("exp", "tanh", "erf"))


@pytest.mark.parametrize(
    ("name", "array", "word"),
    [
        ("u8s8", np.full(4, 2072640), "exact"),
        ("u8s8", np.full(4, 1048544), "saturates"),
        ("u8s8", np.array([2072640, 1048544]), "other:1048544,2072640"),
        ("denormals", np.full(4, 1e-40, np.float32), "kept"),
        ("denormals", np.zeros(4, np.float32), "flushed"),
        ("fma", np.full(4, 2.0**-24, np.float32), "fused"),
        ("fma", np.full(4, 0.5, np.float32), "other:0.5"),
    ],
)
def test_answers_are_put_in_words(name: str, array: object, word: str) -> None:
    assert read_canaries({name: array}) == {name: word}  # type: ignore[dict-item]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cpu", "u8s8", "fma"), [("Haswell", "saturates", "fused"), ("Nehalem", "exact", "separate")]
)
def test_an_emulated_cpu_is_found_out(
    digits: Bundle, wrapper: Callable[[str], str], cpu: str, u8s8: str, fma: str
) -> None:
    target = Target(wrapper(f'exec {need("qemu-x86_64-static")} -cpu {cpu} {sys.executable} "$@"'))
    found = run_smoke(digits, target, fingerprint="f", quick=True).evidence
    assert found.ending.status == "ok"
    assert (found.canaries["u8s8"], found.canaries["fma"]) == (u8s8, fma)
    assert ("AVX2" in found.runtime.cpu_features) is (cpu == "Haswell")
