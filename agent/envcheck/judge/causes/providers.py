"""Why a provider did not come to be: no GPU, an old driver, a missing library, another flavour."""

from __future__ import annotations

import re

from envcheck.contract.drivers import too_old_for
from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause
from envcheck.judge.comparison import Situation
from envcheck.judge.facts_of import mapping, some, text, texts

_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")
# Which distribution brings a provider, and how its library is called beside the module.
_BRINGS = {
    "CUDAExecutionProvider": ("onnxruntime-gpu", "cuda"),
    "TensorrtExecutionProvider": ("onnxruntime-gpu", "tensorrt"),
    "OpenVINOExecutionProvider": ("onnxruntime-openvino", "openvino"),
    "ROCMExecutionProvider": ("onnxruntime-rocm", "rocm"),
    "MIGraphXExecutionProvider": ("onnxruntime-rocm", "migraphx"),
    "QNNExecutionProvider": ("onnxruntime-qnn", "qnn"),
}
_LIBRARY = re.compile(r"[\w.+-]+\.so[\w.]*")
_MEND = {
    r"libcud(?:nn|art)|libcu(?:blas|fft|rand|sparse|solver)|libnv(?:rtc|JitLink)": (
        "pip install 'onnxruntime-gpu[cuda,cudnn]' and call onnxruntime.preload_dlls() before the session is "
        "made, or put the library's folder on LD_LIBRARY_PATH"
    ),
    r"libcuda\.so|libnvidia": "install the NVIDIA driver; in a container, pass the GPU through (--gpus all)",
    r"libnvinfer|libnvonnxparser": "pip install tensorrt in the version that this onnxruntime was built for",
    r"libopenvino|libtbb": "install onnxruntime-openvino anew: it carries these libraries with it",
}


def lost_provider(finding: Finding, situation: Situation) -> Cause | None:
    """Say why a provider of training did not register, as far as facts and evidence tell."""
    provider = _lost(finding, situation)
    if not provider:
        return None
    missing = _missing_library(provider, situation)
    reasons = (
        None if missing else _not_built_in(provider, situation),
        _old_driver(provider, situation),
        _no_gpu(provider, situation, missing),
    )
    if known := next((reason for reason in reasons if reason is not None), None):
        return known
    conflict = flavours(finding, situation)
    if conflict is not None and not missing:
        return conflict
    if missing:
        return Cause(f"{provider} did not start: the library {missing} is missing", _hint_for(missing))
    told = situation.evidence.fallbacks.get(provider, "") if situation.evidence is not None else ""
    told = told or (situation.evidence.ending.reason if situation.evidence is not None else "")
    return Cause(told) if told else None


def flavours(_finding: Finding, situation: Situation) -> Cause | None:
    """Several flavours of onnxruntime lie over each other, or its files are not those that metadata names."""
    conflicts = texts(situation.device, "onnxruntime.conflicts")
    known = set(texts(situation.reference.training, "onnxruntime.conflicts"))
    new = [conflict for conflict in conflicts if conflict not in known]
    if not new:
        return None
    here = sorted(mapping(situation.device, "onnxruntime.flavours"))
    there = mapping(situation.reference.training, "onnxruntime.flavours")
    wanted = next((f"{name}=={version}" for name, version in sorted(there.items())), "the one that is meant")
    return Cause(
        f"onnxruntime is not one whole: {new[0]}",
        f"pip uninstall -y {' '.join(here) or 'onnxruntime'}, then pip install {wanted}",
    )


def _lost(finding: Finding, situation: Situation) -> str:
    """Name the provider that a finding is about and that did not register."""
    evidence, baseline = situation.evidence, situation.reference.baseline
    if evidence is None:
        return ""
    wanted = baseline.providers[:1] if finding.path == "evidence.placement" else baseline.evidence.registered
    if not finding.path.startswith(("evidence.placement", "evidence.fallbacks")):
        return ""
    if finding.path.startswith("evidence.fallbacks."):
        wanted = [finding.path.removeprefix("evidence.fallbacks.")]
    return next((name for name in wanted if name not in evidence.registered), "")


def _old_driver(provider: str, situation: Situation) -> Cause | None:
    if provider not in _CUDA:
        return None
    section = situation.device.sections.get("cuda")
    built = built_for_cuda(situation)
    reason = too_old_for(section.facts, built) if section is not None else ""
    if not reason:
        return None
    return Cause(
        f"the driver is older than the build: onnxruntime is built for CUDA {built}, {reason}",
        "upgrade the NVIDIA driver, or install an onnxruntime-gpu that is built for the older CUDA",
    )


def built_for_cuda(situation: Situation) -> str:
    """Return the version of CUDA that the device's onnxruntime is built for, "" when it tells none."""
    linked = texts(situation.device, "onnxruntime.needs.cuda")
    return text(situation.device, "onnxruntime.cuda") or max(linked, default="", key=len)


def _no_gpu(provider: str, situation: Situation, missing: str) -> Cause | None:
    section = situation.device.sections.get("cuda")
    if provider not in _CUDA or section is None or section.status not in ("absent", "unreadable"):
        return None
    lacking = f", and the library {missing} is missing" if missing else ""
    if section.status == "unreadable":
        return Cause(
            f"{provider} did not start: {section.reason or 'the GPU may not be used'}{lacking}",
            "give the serving user access to the GPU's device nodes (group video or render; --gpus all)",
        )
    return Cause(
        f"{provider} did not start: there is no NVIDIA GPU ({section.reason or 'no device node'}){lacking}",
        "make the GPU visible here (driver, --gpus all), or freeze a baseline for CPUExecutionProvider",
    )


def _not_built_in(provider: str, situation: Situation) -> Cause | None:
    """The distribution here has no such provider at all: its library does not lie beside the module."""
    section = situation.device.sections.get("onnxruntime")
    package, library = _BRINGS.get(provider, ("", ""))
    if not package or section is None or section.status != "ok":
        return None
    if library in texts(situation.device, "onnxruntime.providers"):
        return None
    here = some(sorted(mapping(situation.device, "onnxruntime.flavours"))) or "this onnxruntime"
    there = mapping(situation.reference.training, "onnxruntime.flavours").get(package)
    pinned = f"{package}=={there}" if isinstance(there, str) else package
    return Cause(
        f"{here} is a build without {provider}",
        f"pip uninstall -y {' '.join(sorted(mapping(situation.device, 'onnxruntime.flavours')))}, "
        f"then pip install {pinned}",
    )


def _missing_library(provider: str, situation: Situation) -> str:
    """Name the library that the provider's own words miss; the loader's first word on it counts."""
    evidence = situation.evidence
    if evidence is None:
        return ""
    told = evidence.fallbacks.get(provider, "")
    named = _LIBRARY.search(told)
    if named is not None and ("missing" in told or "cannot open" in told or named.group(0) == told.strip()):
        return named.group(0)
    found = re.search(r"the library (\S+\.so\S*) is missing", evidence.ending.reason)
    return found.group(1) if found is not None else ""


def _hint_for(library: str) -> str:
    for pattern, hint in _MEND.items():
        if re.match(pattern, library):
            return hint
    return f"install the system package that provides {library}"
