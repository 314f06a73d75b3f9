"""Section `variables`: those of the serving process that change numbers or speed, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envcheck.contract.fingerprint import Section
from envcheck.facts.packages import strip_credentials
from envcheck.facts.section import Facts, Scene, Unavailable, section

_PREFIXES = (
    "ORT_", "OMP_", "OPENBLAS_", "MKL_", "KMP_", "GOTO_", "NVIDIA_", "CUDA_", "CUBLAS_", "CUDNN_", "TORCH_",
    "PYTORCH_", "MALLOC_",
)  # fmt: skip
_NAMES = {
    "PYTHONHASHSEED", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "TZ", "LANG", "LC_ALL",
}  # fmt: skip
_SECRET = ("KEY", "TOKEN", "SECRET", "PASS", "CRED")
# An isolated interpreter does not see PYTHON*; locale and zone then belong to whoever called the agent.
_NOT_INHERITED = {"PYTHONHASHSEED", "PYTHONPATH", "TZ", "LANG", "LC_ALL"}
_UUID = re.compile(r"\b(GPU|MIG)-[0-9A-Za-z/-]{8,}")
_VALUE_LIMIT = 4096


class VariableFacts(Facts, frozen=True, kw_only=True):
    """`origin` is `configured` (an env file) or `agent` (nothing configured: the agent's own are inherited).

    In `values` the target's own directory is written {prefix} and an identity of a GPU GPU-*.
    """

    origin: str
    values: dict[str, str] = {}


class VariableDevice(Facts, frozen=True, kw_only=True):
    """Values as they are, where they hold something of this device alone."""

    values: dict[str, str] = {}


def gather(scene: Scene) -> Section:
    """Choose among the variables that the serving process is started with."""
    if not scene.target.python:
        raise Unavailable("skipped", "there is no process here that serves a model")
    inherited = scene.target.environ is None
    found = allowed(scene.target.variables(scene.host))
    if inherited:
        found = {name: value for name, value in found.items() if name not in _NOT_INHERITED}
    prefix = _prefix(scene.target.python)
    shared = {name: without_device(value, prefix) for name, value in found.items()}
    return section(
        VariableFacts(origin="agent" if inherited else "configured", values=shared),
        VariableDevice(values={name: value for name, value in found.items() if shared[name] != value}),
    )


def allowed(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what may be recorded, credentials in URLs stripped, sorted by name."""
    return {
        name: _harmless(value[:_VALUE_LIMIT])
        for name, value in sorted(variables.items())
        if is_recorded(name)
    }


def is_recorded(name: str) -> bool:
    """Whether a variable of this name is one whose value may be read."""
    if any(word in name.upper() for word in _SECRET):
        return False
    return name in _NAMES or name.startswith(_PREFIXES) or "TF32" in name


def without_device(value: str, prefix: str) -> str:
    """Write what belongs to one device alone in a way that all devices of its image share."""
    if len(prefix) > 1:
        value = re.sub(rf"{re.escape(prefix)}(?=/|:|$)", "{prefix}", value)
    return _UUID.sub(r"\1-*", value)


def _harmless(value: str) -> str:
    return strip_credentials(value) if "://" in value else value


def _prefix(python: str) -> str:
    """Return the directory above the interpreter's bin."""
    return python.rpartition("/")[0].rpartition("/")[0]
