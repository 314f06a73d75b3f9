"""Section `cuda`: the driver, the GPUs, the libraries, and what torch was built for."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from envcheck.contract.fingerprint import Section, Status
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.loader import parse_ld_cache
from envcheck.facts.onnxruntime import full_version, parse_assignments
from envcheck.facts.packages import packages
from envcheck.facts.section import Facts, Scene, Unavailable, section

_DRIVER = re.compile(r"Kernel Module(?: for \w+)?\s+(\d[\d.]{0,20})")
_L4T = re.compile(r"#\s*R(\d{1,3})\s*\(\w+\),\s*REVISION:\s*([\d.]{1,12})")
_NODE = re.compile(r"nvidia\d+|nvidiactl|nvidia-uvm|nvhost-gpu|nvhost-ctrl-gpu|nvgpu|nvmap|dxg")
_GPU_NODE = re.compile(r"nvidia\d+|nvhost-gpu|nvgpu|dxg")
_NVML_DEADLINE_S = 5.0


class Gpu(Facts, frozen=True, kw_only=True):
    """One GPU, as NVML tells it; what the driver does not support is left out."""

    name: str = ""
    capability: str = ""
    memory_mib: int | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    power_limit_w: int | None = None


class Torch(Facts, frozen=True, kw_only=True):
    """What torch was built for, from its version.py; `cuda` is "" for a build without CUDA."""

    version: str
    cuda: str = ""


class CudaFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common.

    `driver` is the kernel module's version, `driver_cuda` the newest CUDA that it supports, `l4t` the
    release of a Jetson's system (`36.4.0`). `libraries` are those that the loader finds, `packages` the
    nvidia-* distributions in the target interpreter.
    """

    driver: str = ""
    driver_cuda: str = ""
    nodes: list[str] = []
    gpus: list[Gpu] = []
    nvml: str = ""
    l4t: str = ""
    libraries: list[str] = []
    packages: dict[str, str] = {}
    torch: Torch | None = None


class CudaDevice(Facts, frozen=True, kw_only=True):
    """Identities of the GPUs, in their order."""

    uuids: list[str] = []
    serials: list[str] = []
    unreadable: list[str] = []


class CudaReadings(Facts, frozen=True, kw_only=True):
    """Of the first GPU, or the hottest and the fullest of several."""

    memory_free_mib: int | None = None
    celsius: int | None = None


class ToldGpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as `nvml.py` prints it; None where the driver does not say."""

    name: str | None = None
    uuid: str | None = None
    serial: str | None = None
    capability: str | None = None
    memory_mib: int | None = None
    memory_free_mib: int | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    power_limit_w: int | None = None
    celsius: int | None = None


class Nvml(msgspec.Struct, frozen=True, kw_only=True):
    """What `nvml.py` prints. `error` says why there is nothing else."""

    error: str = ""
    driver: str | None = None
    cuda: str | None = None
    count: int = 0
    gpus: list[ToldGpu] = []


def gather(scene: Scene) -> Section:
    """Look for device nodes; ask NVML in a process of its own only where there is one."""
    nodes = [
        name for name in scene.names("/dev") if _NODE.fullmatch(name) and scene.host.is_device(f"/dev/{name}")
    ]
    driver = parse_driver(scene.text("/proc/driver/nvidia/version") or "")
    l4t = parse_l4t(scene.text("/etc/nv_tegra_release") or "")
    nvml = _ask_nvml(scene) if nodes else Nvml(error="not asked")
    status, reason = _status(scene, nodes, driver, l4t, nvml)
    shared = CudaFacts(
        driver=nvml.driver or driver,
        driver_cuda=nvml.cuda or "",
        nodes=nodes,
        gpus=[_gpu(gpu) for gpu in nvml.gpus],
        nvml=nvml.error if nodes else "",
        l4t=l4t,
        libraries=parse_ld_cache(scene.data("/etc/ld.so.cache") or b""),
        **_built_for(scene),
    )
    free = [gpu.memory_free_mib for gpu in nvml.gpus if gpu.memory_free_mib is not None]
    heat = [gpu.celsius for gpu in nvml.gpus if gpu.celsius is not None]
    return section(
        shared,
        CudaDevice(
            uuids=[gpu.uuid for gpu in nvml.gpus if gpu.uuid],
            serials=[gpu.serial for gpu in nvml.gpus if gpu.serial],
            unreadable=scene.unreadable,
        ),
        CudaReadings(memory_free_mib=min(free, default=None), celsius=max(heat, default=None)),
        status=status,
        reason=reason,
    )


def parse_driver(text: str) -> str:
    """Read the version of the kernel module from /proc/driver/nvidia/version, "" when there is none."""
    match = _DRIVER.search(text[:4096])
    return match.group(1) if match else ""


def parse_l4t(text: str) -> str:
    """Read /etc/nv_tegra_release (`# R36 (release), REVISION: 4.0, ...`) as `36.4.0`, "" when it is none."""
    match = _L4T.search(text[:4096])
    return f"{match.group(1)}.{match.group(2)}" if match else ""


def parse_nvml(output: bytes) -> Nvml:
    """Read what `nvml.py` printed; anything else is an error of its own."""
    try:
        return msgspec.json.decode(output, type=Nvml)
    except (msgspec.DecodeError, RecursionError):
        return Nvml(error="no answer that can be read")


def _ask_nvml(scene: Scene) -> Nvml:
    if not scene.host.live:
        return Nvml(error="not asked: these are files only")
    source = Path(__file__).with_name("nvml.py").read_text(encoding="ascii")
    command = [sys.executable, "-I", "-S", "-B", "-c", source]
    limit = min(_NVML_DEADLINE_S, scene.left_s())
    ended = scene.host.run(command, environ=scene.host.environ, deadline_s=limit)
    if ended.timed_out:
        return Nvml(error="no answer before the deadline")
    if ended.returncode is not None and ended.returncode < 0:
        return Nvml(error=f"killed by signal {-ended.returncode}")
    return parse_nvml(ended.stdout)


def _status(scene: Scene, nodes: list[str], driver: str, l4t: str, nvml: Nvml) -> tuple[Status, str]:
    """Tell absence from being kept out: a node that may not be opened, a driver without a node."""
    gpu_nodes = [name for name in nodes if _GPU_NODE.fullmatch(name)]
    if "/dev" in scene.unreadable:
        return "unreadable", "/dev may not be read"
    if gpu_nodes and not any(scene.host.may_open(f"/dev/{name}") for name in gpu_nodes):
        return "unreadable", "the GPU's device nodes are there, but this process may not open them"
    if nvml.error == "no permission":
        return "unreadable", "the driver does not let this process ask"
    if not gpu_nodes and (driver or l4t):
        return "unreadable", "the driver is loaded, but this process sees no GPU's device node"
    if not gpu_nodes:
        return "absent", "there is no NVIDIA device node"
    return "ok", ""


def _gpu(told: ToldGpu) -> Gpu:
    return Gpu(
        name=told.name or "",
        capability=told.capability or "",
        memory_mib=told.memory_mib,
        ecc=told.ecc,
        mig=told.mig,
        persistence=told.persistence,
        power_limit_w=told.power_limit_w,
    )


def _built_for(scene: Scene) -> dict[str, Any]:
    """Return the facts that the target's interpreter knows; none when it did not answer."""
    try:
        told = scene.interpreter()
    except Unavailable:
        return {}
    found = packages([item for item in told.distributions if item.file.lower().startswith("nvidia_")])
    return {
        "packages": {name: full_version(entry) for name, entry in found.items()},
        "torch": parse_torch(told),
    }


def parse_torch(told: Interpreter) -> Torch | None:
    """Read torch's version.py without importing it; None when there is no torch."""
    found = parse_assignments(told.files.get("torch/version.py") or "")
    version = found.get("__version__")
    return Torch(version=version, cuda=found.get("cuda", "")) if version else None
