from __future__ import annotations

import importlib.util
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from support.interpreters import interpreters, venv_with
from support.tools import missing, need

from envcheck.contract.bundle import Bundle
from envcheck.contract.evidence import Placement
from envcheck.facts.host import Target
from envcheck.smoke.canaries import (
    canary_inputs,
    canary_models,
    canary_sessions,
    read_canaries,
    say_canaries,
)
from envcheck.smoke.job import SessionResult
from envcheck.smoke.run import run_smoke

ROOT = Path(__file__).parents[2]


def made() -> Any:
    spec = importlib.util.spec_from_file_location("make_canaries", ROOT / "scripts/make_canaries.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_bytes_are_what_the_script_builds(capsys: pytest.CaptureFixture[str]) -> None:
    scripts = made()
    graphs = [scripts.canary_graph(), scripts.served_graph(), scripts.bfloat16_graph()]
    assert list(canary_models().values()) == graphs
    scripts.main()
    assert capsys.readouterr().out == (ROOT / "agent/envcheck/smoke/canary_models.py").read_text()


def run_here(name: str) -> dict[str, str]:
    session = onnxruntime.InferenceSession(canary_models()[name], providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, dict(np.load(io.BytesIO(canary_inputs()[name]))))
    return read_canaries(dict(zip(names, outputs, strict=True)))


def test_they_run_here_and_say_something_known() -> None:
    said = run_here("canaries")
    words = {
        **{name: {"exact", "saturates"} for name in ("u8s8", "s8s8")},
        **{name: {"exact"} for name in ("u8u8", "tf32", "bf16")},
        "fma": {"fused", "separate"},
        "denormals": {"kept", "flushed"},
        "float16": {"exact", "half-sums", "as-float32"},
    }
    assert {name: word for name, word in said.items() if name in words and word not in words[name]} == {}
    digests = said.keys() - words.keys()
    assert digests == {"exp", "tanh", "erf", "products", "sums"}
    assert all(re.fullmatch("[0-9a-f]{12}", said[name]) for name in digests)


def test_they_say_the_same_every_time() -> None:
    assert run_here("canaries") == run_here("canaries")
    served = run_here("canaries-served")
    assert served.items() <= run_here("canaries").items()


def precise(mantissa: int) -> Any:
    """The float product as a machine gives it that rounds its factors to so many bits first."""
    inputs = np.load(io.BytesIO(canary_inputs()["canaries-served"]))
    rounded = np.round(inputs["precise"] * 2.0**mantissa) / 2.0**mantissa
    return (rounded @ inputs["ones"]).astype(np.float32)


@pytest.mark.parametrize(
    ("mantissa", "word"), [(23, "exact"), (12, "exact"), (10, "tf32-like"), (7, "bf16-like")]
)
def test_what_rounds_its_factors_is_found_out(mantissa: int, word: str) -> None:
    assert read_canaries({"tf32": precise(mantissa)}) == {"tf32": word, "bf16": word}


def placed(provider: str, operator: str = "MatMul", **changes: Any) -> SessionResult:
    placement = Placement(source="assignment", nodes={provider: {operator: 1}})
    return SessionResult(**{"name": "x", "registered": [provider], "placement": placement, **changes})


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
EXACT, COARSE = {"tf32": precise(23)}, {"tf32": precise(10)}


@pytest.mark.parametrize(
    ("served", "tf32"),
    [
        (placed(CUDA), "tf32-like"),
        # It registered, but its product ran elsewhere: nothing is known of it.
        (placed(CPU, registered=[CUDA, CPU]), None),
        # It is not there: the model, too, ran on the CPU.
        (placed(CPU), "exact"),
        (None, "exact"),
    ],
)
def test_a_providers_own_answer_counts_only_when_it_ran(
    served: SessionResult | None, tf32: str | None
) -> None:
    sessions = {} if served is None else {"canaries-served": served}
    said = say_canaries([CUDA, CPU], sessions, {"canaries": EXACT, "canaries-served": COARSE})
    assert said.get("tf32") == tf32


def test_a_type_without_a_kernel_is_told() -> None:
    lacking = SessionResult(
        name="x", error="NotImplemented: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : MatMul"
    )
    assert say_canaries([CPU], {"canaries-bfloat16": lacking}, {})["bfloat16"] == "none"
    broken = SessionResult(name="x", error="Fail: something else")
    assert say_canaries([CPU], {"canaries-bfloat16": broken}, {}) == {}


def test_a_provider_of_its_own_has_sessions_of_its_own() -> None:
    assert [spec.name for spec in canary_sessions([CPU])] == ["canaries", "canaries-bfloat16"]
    specs = {spec.name: spec for spec in canary_sessions([CUDA, CPU])}
    assert specs["canaries"].providers == [CPU]
    assert specs["canaries-served"].providers == specs["canaries-bfloat16"].providers == [CUDA, CPU]
    assert all(spec.optional for spec in specs.values())


@pytest.mark.parametrize(
    ("name", "array", "word"),
    [
        ("u8s8", np.full(4, 2072640), "exact"),
        ("u8s8", np.full(4, 1048544), "saturates"),
        ("u8s8", np.array([2072640, 1048544]), "other:1048544,2072640"),
        ("s8s8", np.full(4, 1032192, np.float32), "exact"),
        ("s8s8", np.zeros(4, np.float32), "saturates"),
        ("float16", np.full(4, 2048, np.float32), "half-sums"),
        ("bfloat16", np.full(4, 320, np.float32), "exact"),
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
    ("cpu", "int8", "fma"), [("Haswell", "saturates", "fused"), ("Nehalem", "exact", "separate")]
)
def test_an_emulated_cpu_is_found_out(
    digits: Bundle, wrapper: Callable[[str], str], cpu: str, int8: str, fma: str
) -> None:
    target = Target(wrapper(f'exec {need("qemu-x86_64-static")} -cpu {cpu} {sys.executable} "$@"'))
    found = run_smoke(digits, target, fingerprint="f", quick=True).evidence
    assert found.ending.status == "ok"
    assert (found.canaries["u8s8"], found.canaries["s8s8"], found.canaries["fma"]) == (int8, int8, fma)
    assert (found.canaries["u8u8"], found.canaries["tf32"], found.canaries["bfloat16"]) == (
        "exact",
        "exact",
        "none",
    )
    assert ("AVX2" in found.runtime.cpu_features) is (cpu == "Haswell")
    assert ("avx2" in found.runtime.loader_isa) is (cpu == "Haswell")
    assert {"sse2", "sse4_2"} <= set(found.runtime.loader_isa)


@pytest.mark.slow
def test_another_provider_answers_for_itself(digits: Bundle) -> None:
    if "3.11" not in interpreters():
        missing("there is no Python 3.11 here")
    python = venv_with(interpreters()["3.11"], ["onnxruntime-openvino==1.24.1"])
    openvino = "OpenVINOExecutionProvider"
    found = run_smoke(
        digits, Target(str(python)), fingerprint="f", quick=True, providers=[openvino, CPU]
    ).evidence
    assert (found.ending.status, found.fallbacks, found.placement.astray) == ("ok", {}, {})
    assert found.placement.nodes == {openvino: {"MatMul": 1, "Softmax": 1}}
    assert found.canaries["tf32"] in ("exact", "tf32-like", "bf16-like")
