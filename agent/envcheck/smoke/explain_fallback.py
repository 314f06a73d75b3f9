"""Explains why execution providers that were asked for did not come to be.

Pure: what the child found and what onnxruntime logged in, sentences out, equal on all devices of one image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from envcheck.smoke.explain_text import scrub
from envcheck.smoke.job import ChildResult

# Where a provider comes from that the installed build does not have.
_FLAVOURS = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "NvTensorRTRTXExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "ROCMExecutionProvider": "onnxruntime-rocm",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "DmlExecutionProvider": "onnxruntime-directml",
}
_LOADING = re.compile(
    r"Failed to load library \S*?libonnxruntime_providers_(\w+)\.so with error: ([^\n\x1b]*)", re.IGNORECASE
)
_MISSING = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")
_NO_DEVICE = re.compile(
    r"no CUDA-capable device is detected|CUDA driver version is insufficient for CUDA runtime version"
    r"|CUDA failure \d+: [^;\n]*|no ROCm-capable device is detected",
)


def explain_fallbacks(
    requested: Sequence[str], registered: Sequence[str], result: ChildResult, stderr: str
) -> dict[str, str]:
    """Return for each requested provider that did not register the reason, as far as it can be known."""
    lost = [name for name in requested if name not in registered]
    return {name: scrub(_reason(name, lost, result, stderr)) for name in lost}


def fallback_sentence(fallbacks: Mapping[str, str], registered: Sequence[str]) -> str:
    """Say in one sentence which providers the session did without, and why; empty when it has all."""
    if not fallbacks:
        return ""
    ran = ", ".join(registered) or "nothing"
    return scrub(
        f"{', '.join(fallbacks)} did not register; {ran} ran in its place: {next(iter(fallbacks.values()))}"
    )


def _reason(provider: str, lost: Sequence[str], result: ChildResult, stderr: str) -> str:
    if result.available and provider not in result.available:
        flavour = _FLAVOURS.get(provider)
        return "this build of onnxruntime has no such provider" + (f": {flavour} has it" if flavour else "")
    if missing := result.missing.get(provider, []) or _logged(provider, stderr):
        others = f", and so are {', '.join(missing[1:])}" if missing[1:] else ""
        return f"the library {missing[0]} is missing{others}"
    if failed := _load_errors(provider, stderr):
        return f"its library did not load: {failed[0]}"
    if device := _NO_DEVICE.search(stderr):
        return f"its device is not there: {device.group(0)}"
    if provider != lost[0] and "EP Error" in stderr:
        return f"it was not tried, since {lost[0]} failed"
    return "its library loads, but its device is not there or does not answer"


def _logged(provider: str, stderr: str) -> list[str]:
    """The missing libraries that onnxruntime's log tells of; it stops at the first one each time."""
    found = [name for error in _load_errors(provider, stderr) for name in _MISSING.findall(error)]
    return list(dict.fromkeys(found))


def _load_errors(provider: str, stderr: str) -> list[str]:
    title = provider.removesuffix("ExecutionProvider").lower()
    return [error.strip() for name, error in _LOADING.findall(stderr) if name.lower() == title]
