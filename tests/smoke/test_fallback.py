"""Providers that were asked for and did not come to be: the reason, by hand and for real."""

from __future__ import annotations

import pytest
from support.interpreters import interpreters, venv_with
from support.tools import missing

from envcheck.contract.bundle import Bundle
from envcheck.facts.host import Target
from envcheck.smoke.explain_fallback import explain_fallbacks, fallback_sentence
from envcheck.smoke.job import ChildResult
from envcheck.smoke.run import run_smoke

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
LOG = (
    "\x1b[1;31m2026-01-01 [E:onnxruntime:Default, provider_bridge_ort.cc:2195 TryGetProviderInfo_CUDA] "
    "Failed to load library /opt/libonnxruntime_providers_cuda.so with error: "
)


def explain(stderr: str = "", missed: dict[str, list[str]] | None = None, *lost: str) -> dict[str, str]:
    result = ChildResult(available=[TENSORRT, CUDA, CPU], missing=missed or {})
    return explain_fallbacks([*(lost or (CUDA,)), CPU], [CPU], result, stderr)


def test_a_build_without_the_provider_is_told_which_one_has_it() -> None:
    found = explain_fallbacks([CUDA, "FooExecutionProvider"], [CPU], ChildResult(available=[CPU]), "")
    reason = "this build of onnxruntime has no such provider"
    assert found == {CUDA: f"{reason}: onnxruntime-gpu has it", "FooExecutionProvider": reason}


@pytest.mark.parametrize(
    ("stderr", "missed", "reason"),
    [
        ("", {CUDA: ["liba.so.1"]}, "the library liba.so.1 is missing"),
        ("", {CUDA: ["liba.so.1", "libb.so"]}, "the library liba.so.1 is missing, and so are libb.so"),
        (
            LOG + "libcublasLt.so.12: cannot open shared object file: No such file or directory\n\x1b[m",
            {},
            "the library libcublasLt.so.12 is missing",
        ),
        (
            LOG + "/opt/libcudnn.so.9: undefined symbol: x, version y\n",
            {CUDA: []},
            "its library did not load: libcudnn.so.9: undefined symbol: x, version y",
        ),
        (
            "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=a-1\n",
            {},
            "its device is not there: CUDA failure 100: no CUDA-capable device is detected",
        ),
        ("", {}, "its library loads, but its device is not there or does not answer"),
    ],
)
def test_the_reason_is_the_first_thing_that_failed(
    stderr: str, missed: dict[str, list[str]], reason: str
) -> None:
    assert explain(stderr, missed) == {CUDA: reason}


def test_a_provider_behind_the_one_that_failed_was_not_tried() -> None:
    found = explain("*** EP Error ***", {TENSORRT: ["libnvinfer.so.10"]}, TENSORRT, CUDA)
    assert found[CUDA] == f"it was not tried, since {TENSORRT} failed"
    told = fallback_sentence(found, [CPU])
    assert told.startswith(f"{TENSORRT}, {CUDA} did not register; {CPU} ran in its place")
    assert told.endswith(": the library libnvinfer.so.10 is missing")


def test_nothing_is_said_when_all_registered() -> None:
    assert explain_fallbacks([CPU], [CPU], ChildResult(available=[CPU]), LOG) == {}
    assert fallback_sentence({}, [CPU]) == ""


@pytest.mark.slow
@pytest.mark.parametrize("providers", [[CUDA], [TENSORRT, CUDA, CPU]])
def test_the_gpu_build_on_a_machine_without_cuda_names_every_missing_library(
    digits: Bundle, providers: list[str]
) -> None:
    if "3.11" not in interpreters():
        missing("there is no Python 3.11 here")
    python = venv_with(interpreters()["3.11"], ["onnxruntime-gpu==1.23.2"])
    found = run_smoke(digits, Target(str(python)), fingerprint="f", quick=True, providers=providers).evidence
    assert (found.ending.status, found.registered) == ("ok", [CPU])
    assert found.fallbacks.keys() == set(providers) - {CPU}
    assert "the library libcu" in found.fallbacks[CUDA]
    for library in ("libcublasLt.so.12", "libcudnn.so.9", "libcudart.so.12"):
        assert library in found.fallbacks[CUDA]
    assert found.placement.nodes == {CPU: {"MatMul": 1, "Softmax": 1}}
    assert list(found.placement.astray) == [CPU]
    assert found.ending.reason.startswith(f"{providers[0]}")
