"""What looks wrong with GPU, driver, CUDA's libraries and what was built for them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from envcheck.contract.drivers import too_old_for
from envcheck.contract.fingerprint import Section
from envcheck.output.opaque import items, mapping, strings
from envcheck.output.remark import Remark, some

_LIBRARY = re.compile(
    r"lib(?:cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|cusolver|cusparse|nvrtc)\.so\.\d.*"
)
_CUDA_PROVIDER = "libonnxruntime_providers_cuda.so"


def about_cuda(sections: dict[str, Section]) -> Iterator[Remark]:
    """Look at the driver, the GPUs' modes, and whether what was built for CUDA finds its libraries."""
    cuda = sections["cuda"]
    runtime = sections["onnxruntime"].shared if "onnxruntime" in sections else {}
    if cuda.status == "absent" and "cuda" in strings(runtime.get("providers")):
        yield Remark(
            section="cuda",
            text="onnxruntime is built for CUDA, but there is no GPU: it runs on the CPU and does not say so",
            hint="install onnxruntime instead of onnxruntime-gpu, or make the GPU visible here",
        )
    for name, text in _built_for(cuda, runtime).items():
        reason = too_old_for(cuda.shared, text)
        if reason:
            yield Remark(
                section="cuda",
                text=f"{name} is built for CUDA {text}, {reason}",
                hint="upgrade the driver, or install a build for the older CUDA",
            )
    if cuda.status == "ok":
        yield from _libraries(cuda.shared, runtime)
        yield from _modes(cuda)


def _built_for(cuda: Section, runtime: dict[str, Any]) -> dict[str, str]:
    linked = strings(mapping(runtime.get("needs")).get("cuda"))
    told = {
        "torch": str(mapping(cuda.shared.get("torch")).get("cuda") or ""),
        "onnxruntime": str(runtime.get("cuda") or "") or max(linked, default="", key=len),
    }
    return {name: text for name, text in told.items() if text}


def _libraries(facts: dict[str, Any], runtime: dict[str, Any]) -> Iterator[Remark]:
    """Look for every library that the CUDA provider is linked against."""
    provider = mapping(mapping(runtime.get("libraries")).get(_CUDA_PROVIDER))
    wanted = [name for name in strings(provider.get("needs")) if _LIBRARY.fullmatch(name)]
    looks_there = any("nvidia" in folder for folder in strings(provider.get("search")))
    found = mapping(facts.get("runtimes"))
    missing = [name for name in wanted if name not in found]
    if missing:
        yield Remark(
            section="cuda",
            text=f"the loader finds no {some(missing)}: onnxruntime's CUDA provider can't start",
            hint="the CPU runs instead: install these versions, or put their folders on LD_LIBRARY_PATH",
        )
        return
    packed = [name for name in wanted if mapping(found[name]).get("origin") == "pip"]
    if packed and not looks_there:
        yield Remark(
            section="cuda",
            text=f"{some(packed)}: only pip's packages have them, and the loader does not look there",
            hint="call onnxruntime.preload_dlls() (since 1.21) or import torch before the session is made",
        )


def _modes(cuda: Section) -> Iterator[Remark]:
    for gpu in map(mapping, items(cuda.shared.get("gpus"))):
        name = gpu.get("name") or "the GPU"
        if gpu.get("compute_mode") == "prohibited":
            yield Remark(
                section="cuda",
                text=f"{name}: its compute mode forbids every program",
                hint="nvidia-smi --compute-mode=DEFAULT",
            )
        if gpu.get("mig") and not gpu.get("partitions"):
            yield Remark(
                section="cuda",
                text=f"{name}: MIG is on without a partition, so that no program can use it",
                hint="make one (nvidia-smi mig -cgi ... -C), or turn MIG off",
            )
    slowed = strings(cuda.readings.get("slowed_by"))
    if slowed:
        yield Remark(
            section="cuda",
            text=f"the GPU is slowed down now: {', '.join(slowed)}",
            hint="timings are not to be trusted",
        )
