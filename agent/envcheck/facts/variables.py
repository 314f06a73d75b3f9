"""Section `variables`: those of the serving process that change numbers or speed, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envcheck.contract.fingerprint import Section
from envcheck.facts.host import Target
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
NOT_INHERITED = {"PYTHONHASHSEED", "PYTHONPATH", "TZ", "LANG", "LC_ALL"}
# CUDA takes the first digits of an identity for the whole.
_UUID = re.compile(r"\b(GPU|MIG)-(?:GPU-)?[0-9A-Fa-f][0-9A-Fa-f/-]*")
_VALUE_LIMIT = 4096
_NOBODY = "there is no process here that serves a model"


class UnitFacts(Facts, frozen=True, kw_only=True):
    """The service that starts the serving process, and what it grants it.

    `affinity` are the CPUs it may use, left out where those are all; `limits` the soft ones in bytes,
    `nofile` a number, each left out where it is unlimited; `cpu_quota` is in CPUs. `manager` is user for a
    unit of a user's own manager, `user` whose rights it has (`dynamic`: made up at each start), `root` is
    directory or image where it has a root directory of its own.
    """

    name: str
    manager: str = ""
    user: str = ""
    root: str = ""
    affinity: list[int] = []
    limits: dict[str, int] = {}
    cpu_quota: float | None = None
    memory_mib: int | None = None


class VariableFacts(Facts, frozen=True, kw_only=True):
    """`origin` tells whose variables these are.

    `configured` (an env file), `unit`, `container`, or `agent` (nothing is configured: the agent's own are
    inherited). In `values` the target's own directory is written {prefix} and an identity of a GPU GPU-*.
    """

    origin: str
    unit: UnitFacts | None = None
    values: dict[str, str] = {}


class VariableDevice(Facts, frozen=True, kw_only=True):
    """Values as they are, where they hold something of this device alone; the serving process, if any."""

    values: dict[str, str] = {}
    pid: int | None = None
    model: str = ""


class ModelReading(Facts, frozen=True, kw_only=True):
    """The deployed model file, by its digest. `status` is ok, absent, unreadable or error (too slow)."""

    status: str
    sha256: str = ""
    size: int | None = None


class VariableReadings(Facts, frozen=True, kw_only=True):
    """What is served. A model is exchanged more often than the environment, so it enters no digest."""

    model: ModelReading | None = None


def gather(scene: Scene) -> Section:
    """Choose among the variables that the serving process is started with; read the model that it serves."""
    target = scene.target
    readings = VariableReadings(model=_model(scene) if target.model else None)
    if not target.python:
        if readings.model is None:
            raise Unavailable("skipped", _NOBODY)
        device = VariableDevice(model=target.model)
        return section({}, device, readings, status="skipped", reason=_NOBODY)
    found = allowed(target.variables(scene.host))
    if target.environ is None:
        found = {name: value for name, value in found.items() if name not in NOT_INHERITED}
    prefix = _prefix(target.python)
    shared = {name: without_device(value, prefix) for name, value in found.items()}
    problem = target.unit.problem if target.unit else None
    return section(
        VariableFacts(origin=_origin(target), unit=_unit(target), values=shared),
        VariableDevice(
            values={name: value for name, value in found.items() if shared[name] != value},
            pid=(target.unit.pid or None) if target.unit else None,
            model=target.model,
        ),
        readings if readings.model else None,
        status=problem.status if problem else "ok",
        reason=problem.reason if problem else "",
    )


def _origin(target: Target) -> str:
    if target.environ is None:
        return "agent"
    return "unit" if target.unit else "container" if target.container else "configured"


def _unit(target: Target) -> UnitFacts | None:
    unit = target.unit
    if unit is None:
        return None
    return UnitFacts(
        name=unit.name,
        manager="user" if unit.of_user else "",
        user=unit.user,
        root=unit.apart,
        affinity=unit.affinity or [],
        limits={name: value for name, value in unit.limits.items() if value is not None},
        cpu_quota=unit.cpu_quota,
        memory_mib=unit.memory_mib,
    )


def _model(scene: Scene) -> ModelReading:
    from envcheck.facts.model import read_digest

    return ModelReading(**read_digest(scene.host, scene.target.model, scene.left_s()))


def allowed(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what may be recorded, credentials in URLs stripped, sorted by name."""
    return {
        # Cut only then: half of an URL's credentials are no longer seen to be some.
        name: _harmless(value)[:_VALUE_LIMIT]
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
        value = re.sub(rf"(?<![\w./-]){re.escape(prefix)}(?=/|:|$)", "{prefix}", value)
    return _UUID.sub(r"\1-*", value)


def _harmless(value: str) -> str:
    return strip_credentials(value) if "://" in value else value


def _prefix(python: str) -> str:
    """Return the directory above the interpreter's bin."""
    return python.rpartition("/")[0].rpartition("/")[0]
