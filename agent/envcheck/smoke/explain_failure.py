"""Explains the exceptions that end a smoke process: what is missing, unsupported or too large."""

from __future__ import annotations

import re
from typing import NamedTuple

from envcheck.contract.evidence import Ending, EndingStatus
from envcheck.contract.opsets import Supported, oldest_with
from envcheck.smoke.explain_text import scrub
from envcheck.smoke.job import ChildResult, Failure
from envcheck.smoke.wheels import first_hint, install_hint, newest_hint

Explained = tuple[EndingStatus, str, str]

LESS_MEMORY = (
    "the model needs more memory than this device gives it: free some, or use a smaller model or batch"
)

_NO_MEMORY = re.compile(
    r"MemoryError|bad_alloc|[Ff]ailed to allocate memory|[Oo]ut of memory|[Cc]annot allocate memory"
    r"|failed to map segment from shared object"
)
_ORT_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_MISSING_LIBRARY = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")


def explain_failure(failure: Failure, result: ChildResult, stage: str) -> Ending:
    """Return the ending of a process that `failure` ended at `stage`."""
    status, reason, hint = _explained(failure, result)
    return Ending(status=status, stage=stage, reason=scrub(reason), hint=scrub(hint))


def out_of_memory(text: str) -> bool:
    """Tell whether `text` is what a process says that could not get memory."""
    return _NO_MEMORY.search(text) is not None


def _explained(failure: Failure, result: ChildResult) -> Explained:
    if failure.type == "ModuleNotFoundError":
        return _missing_module(failure.module, result)
    if failure.type == "Unusable":
        return "error", failure.text, "end the graph in tensors of numbers, booleans or strings (add a Cast)"
    if failure.type == "TooLarge":
        return "error", failure.text, "use fewer samples, or give the model fewer outputs"
    text = f"{failure.type}: {failure.text}"
    if too_new := _too_new(text, result):
        return too_new
    for known in _KNOWN:
        if match := re.search(known.pattern, text, re.DOTALL):
            return known.status, _filled(known.reason, match, result), _filled(known.hint, match, result)
    return "error", _ORT_PREFIX.sub("", text), ""


_OPSET = re.compile(
    r"Opset (\d+) is under development.*support for domain (\S+) is till opset (\d+)", re.DOTALL
)
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")


def _too_new(text: str, result: ChildResult) -> Explained | None:
    """Explain a model that is newer than this onnxruntime, with what would support it."""
    if found := _OPSET.search(text):
        wanted, domain, can = int(found[1]), found[2], int(found[3])
        first = oldest_with(Supported(wanted, 0)) if domain == "ai.onnx" else ""
        verb, what, lower = (
            "needs",
            f"opset {wanted} of {domain}",
            f"export the model with opset {can} or lower",
        )
    elif found := _IR_VERSION.search(text):
        wanted, can = int(found[1]), int(found[2])
        first = oldest_with(Supported(0, wanted))
        verb, what, lower = "has", f"IR version {wanted}", f"save the model with IR version {can} or lower"
    else:
        return None
    python, installed = result.runtime.python, result.runtime.onnxruntime
    reason = f"the model {verb} {what}; this onnxruntime supports up to {can}"
    if first:
        way = f"{what} needs onnxruntime {first} or later; {first_hint('onnxruntime', python, first)}"
    else:
        way = newest_hint("onnxruntime", python, installed)
    return "error", reason, f"{way}, or {lower}"


def _filled(template: str, match: re.Match[str], result: ChildResult) -> str:
    newer = newest_hint("onnxruntime", result.runtime.python, result.runtime.onnxruntime)
    return template.format(match.group(0), *match.groups(), newer=newer)


def _missing_module(module: str, result: ChildResult) -> Explained:
    package = module.partition(".")[0]
    if package in ("onnxruntime", "numpy"):
        reason = f"this interpreter has no {package}"
        return "error", reason, install_hint(package, result.runtime.python, result.platform)
    return "error", f"the Python module {module} is missing", f"install what provides {package} there"


class _Known(NamedTuple):
    """A known exception: what its text matches, and what to say; `{1}` stands for the first group."""

    pattern: str
    reason: str
    hint: str
    status: EndingStatus = "error"


_KNOWN = (
    _Known(f"({_NO_MEMORY.pattern})", "ran out of memory ({1})", LESS_MEMORY, "memory"),
    _Known(
        _MISSING_LIBRARY.pattern,
        "the library {1} is missing",
        "install the system package that provides {1}",
    ),
    _Known(
        r"version `(GLIBC|GLIBCXX|CXXABI)_([\d.]+)' not found",
        "a library needs {1} {2}, which is newer than this system's",
        "install an older build of the package, or a newer system image",
    ),
    _Known(
        r"NumPy was built with baseline optimizations:\s*\(([\w ]+)\) but your machine doesn't support",
        "this numpy was built for instructions that this CPU lacks ({1})",
        "install an older numpy there, or one that is built for this CPU",
    ),
    _Known(
        r"_ARRAY_API not found|numpy\.core\.multiarray failed to import",
        "this onnxruntime was built for another major version of numpy",
        "install a numpy that fits there: python -m pip install 'numpy<2'",
    ),
    _Known(
        r"(?:Fatal error: |No Op registered for )((?!ai\.onnx|com\.microsoft)[\w.]+:\w+)",
        "the model needs the custom operator {1}",
        "it comes from a custom operator library, which envcheck does not load",
    ),
    _Known(
        r"(?:Fatal error: |No Op registered for )([\w.:]+)",
        "this onnxruntime does not know the operator {1}",
        "{newer}, or export the model without it",
    ),
    _Known(
        r"Could not find an implementation for ([\w.:]+)\((\d+)\)",
        "this onnxruntime has no kernel for {1} (opset {2}) on these types",
        "{newer}, or export the model with other types",
    ),
    _Known(
        r"INVALID_PROTOBUF|Protobuf parsing failed",
        "the model is not a valid ONNX file",
        "export it anew",
    ),
)
