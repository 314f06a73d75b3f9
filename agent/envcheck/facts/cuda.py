"""Section `cuda`: the driver, the GPUs, the libraries, and what torch was built for."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from envcheck.contract.fingerprint import Section, Status
from envcheck.facts.gpus import Gpu, Nvml, gpus, parse_information, parse_nvml
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.loader import find_libraries, library_version
from envcheck.facts.onnxruntime import full_version, parse_assignments
from envcheck.facts.packages import packages
from envcheck.facts.section import Facts, Scene, Unavailable, section
from envcheck.facts.tegra import Tegra, parse_l4t, tegra, tegra_clocks

# Compiled when first used: most machines have no GPU.
_DRIVER = r"Kernel Module(?: for \w+)?\s+([\w.]{1,32})"
_TOOLKIT = r"CUDA Version (\d[\d.]{0,20})"
_NODE = r"nvidia\d+|nvidiactl|nvhost-gpu|nvhost-ctrl-gpu|nvgpu|nvmap|dxg"
# Made when the first program starts CUDA: whether it is there says nothing of the image.
_USED_NODES = ("nvidia-uvm",)
_GPU_NODE = r"nvidia\d+|nvhost-gpu|nvgpu|dxg"
_NVML_DEADLINE_S = 5.0
_MAX_FOLDERS = 64


class Torch(Facts, frozen=True, kw_only=True):
    """What torch was built for, from its version.py; `cuda` is "" for a build without CUDA."""

    version: str
    cuda: str = ""


class Runtime(Facts, frozen=True, kw_only=True):
    """A library that would be loaded: its version, and who leads there.

    `origin` is LD_LIBRARY_PATH, ld.so.cache or pip; pip's libraries are found only by a program that loads
    them by their path, as torch does.
    """

    version: str = ""
    origin: str


class CudaFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common.

    `driver` is the kernel module's version, `driver_cuda` the newest CUDA that it supports, `toolkit` what
    is installed in /usr/local/cuda, `l4t` the release of a Jetson's system (`36.4.0`). `libraries` are
    the names that the loader finds, `runtimes` tells more of each and of pip's; `packages` are the nvidia-*
    distributions in the target interpreter.
    """

    driver: str = ""
    driver_cuda: str = ""
    nodes: list[str] = []
    gpus: list[Gpu] = []
    nvml: str = ""
    l4t: str = ""
    jetson: Tegra | None = None
    toolkit: str = ""
    libraries: list[str] = []
    runtimes: dict[str, Runtime] = {}
    packages: dict[str, str] = {}
    torch: Torch | None = None


class CudaDevice(Facts, frozen=True, kw_only=True):
    """Identities of the GPUs and their partitions, in their order; where the libraries lie."""

    uuids: list[str] = []
    serials: list[str] = []
    places: dict[str, str] = {}
    unreadable: list[str] = []


class CudaReadings(Facts, frozen=True, kw_only=True):
    """The hottest, the fullest and the slowest GPU of several; why any is slowed down; a Jetson's limits.

    `nodes` are those device nodes that come with the first use of CUDA.
    """

    nodes: list[str] = []
    memory_free_mib: int | None = None
    celsius: int | None = None
    mhz: int | None = None
    min_mhz: int | None = None
    max_mhz: int | None = None
    power_w: int | None = None
    slowed_by: list[str] = []


def gather(scene: Scene) -> Section:
    """Look for device nodes; ask NVML in a process of its own only where there is one."""
    nodes = _nodes(scene)
    driver = parse_driver(scene.text("/proc/driver/nvidia/version") or "")
    l4t = parse_l4t(scene.text("/etc/nv_tegra_release") or "")
    nvml = _nvml(scene) if nodes else Nvml(error="not asked")
    jetson = tegra(scene)
    told = _told(scene)
    places = find_libraries(scene, _pip_folders(scene, told))
    informed = _informed(scene, nodes)
    shared = CudaFacts(
        driver=nvml.driver or driver,
        driver_cuda=nvml.cuda or "",
        nodes=nodes,
        gpus=gpus(nvml, informed, jetson.soc if jetson else ""),
        nvml=nvml.error if nodes else "",
        l4t=l4t,
        jetson=jetson,
        toolkit=parse_toolkit(
            scene.text("/usr/local/cuda/version.json") or scene.text("/usr/local/cuda/version.txt") or ""
        ),
        libraries=[name for name, place in places.items() if place.origin != "pip"],
        runtimes={
            name: Runtime(version=library_version(scene, place.path), origin=place.origin)
            for name, place in places.items()
        },
        **_built_for(told),
    )
    status, reason = _status(scene, nodes, driver, l4t, nvml)
    return section(
        shared,
        CudaDevice(
            uuids=nvml.uuids() or [item.uuid for item in informed if item.uuid],
            serials=[gpu.serial for gpu in nvml.gpus if gpu.serial],
            places={name: place.path for name, place in places.items()},
            unreadable=scene.unreadable,
        ),
        _readings(scene, nvml, jetson),
        status=status,
        reason=reason,
    )


def parse_driver(text: str) -> str:
    """Read the version of the kernel module from /proc/driver/nvidia/version, "" when there is none."""
    match = re.search(_DRIVER, text[:4096]) if text else None
    return match.group(1) if match else ""


def parse_toolkit(text: str) -> str:
    """Read version.json, or version.txt of older toolkits, "" when it is neither."""
    if not text:
        return ""
    match = re.search(_TOOLKIT, text[:4096])
    if match:
        return match.group(1)
    try:
        found = json.loads(text)["cuda"]["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return found[:40] if isinstance(found, str) else ""


def parse_torch(told: Interpreter) -> Torch | None:
    """Read torch's version.py without importing it; None when there is no torch."""
    found = parse_assignments(told.files.get("torch/version.py") or "")
    version = found.get("__version__")
    return Torch(version=version, cuda=found.get("cuda", "")) if version else None


def _nodes(scene: Scene) -> list[str]:
    found = [
        name
        for name in scene.names("/dev")
        if name.startswith(("nv", "dxg"))
        and re.fullmatch(_NODE, name)
        and scene.host.is_device(f"/dev/{name}")
    ]
    # JetPack 6 keeps the GPU's nodes in a folder.
    inner = [f"nvgpu/{name}/ctrl" for name in scene.names("/dev/nvgpu")[:_MAX_FOLDERS]]
    return found + [name for name in inner if scene.host.is_device(f"/dev/{name}")]


def _informed(scene: Scene, nodes: list[str]) -> list[Any]:
    base = "/proc/driver/nvidia/gpus"
    texts = [scene.text(f"{base}/{name}/information") for name in scene.names(base)[:_MAX_FOLDERS]]
    found = [parse_information(text) for text in texts if text]
    capabilities = "/proc/driver/nvidia/capabilities"
    for item in found:
        base = f"{capabilities}/gpu{item.minor}/mig"
        item.partitions = sum(name.startswith("gi") for name in scene.names(base))
    if scene.target.container:
        found = [item for item in found if f"nvidia{item.minor}" in nodes]
    return sorted(found, key=lambda item: item.minor)


def _nvml(scene: Scene) -> Nvml:
    answer = scene.host.answer("nvml.json", lambda: _ask_nvml(scene))
    if not answer and not scene.host.live:
        return Nvml(error="not asked: these are files only")
    return parse_nvml(answer)


def _ask_nvml(scene: Scene) -> bytes:
    from pathlib import Path

    source = Path(__file__).with_name("nvml.py").read_text(encoding="ascii")
    options = ("-I", "-S", "-B")
    limit = min(_NVML_DEADLINE_S, scene.left_s())
    if container := scene.target.container:
        # Its own libraries are asked: an engine may give it one GPU of several.
        command = [*container.command(), scene.target.python, *options, "-"]
        stdin = source.encode("ascii")
        ended = scene.host.run(command, environ=scene.host.environ, deadline_s=limit, stdin=stdin)
    else:
        command = [sys.executable, *options, "-c", source]
        ended = scene.host.run(command, environ=scene.host.environ, deadline_s=limit)
    if ended.timed_out:
        return b'{"error":"no answer before the deadline"}'
    if ended.returncode is not None and ended.returncode < 0:
        return b'{"error":"killed by signal %d"}' % -ended.returncode
    return ended.stdout


def _status(scene: Scene, nodes: list[str], driver: str, l4t: str, nvml: Nvml) -> tuple[Status, str]:
    """Tell absence from being kept out: a node that may not be opened, a driver without a node."""
    gpu_nodes = [name for name in nodes if re.fullmatch(_GPU_NODE, name.partition("/")[0])]
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


def _told(scene: Scene) -> Interpreter | None:
    try:
        return scene.interpreter()
    except Unavailable:
        return None


def _pip_folders(scene: Scene, told: Interpreter | None) -> list[str]:
    """Return the folders of pip's nvidia-* packages with libraries, where they lie on this machine."""
    names = (told.folders.get("nvidia") or [])[:_MAX_FOLDERS] if told else []
    if told is None or not names:
        return []
    site = next((folder for folder in told.path if scene.names(f"{folder}/nvidia")), None)
    return [] if site is None else [f"{site}/nvidia/{name}/lib" for name in names]


def _built_for(told: Interpreter | None) -> dict[str, Any]:
    """Return the facts that the target's interpreter knows; none when it did not answer."""
    if told is None:
        return {}
    found = packages([item for item in told.distributions if item.file.lower().startswith("nvidia_")])
    return {
        "packages": {name: full_version(entry) for name, entry in found.items()},
        "torch": parse_torch(told),
    }


def _readings(scene: Scene, nvml: Nvml, jetson: Tegra | None) -> CudaReadings:
    free = [gpu.memory_free_mib for gpu in nvml.gpus if gpu.memory_free_mib is not None]
    heat = [gpu.celsius for gpu in nvml.gpus if gpu.celsius is not None]
    clocks = [gpu.mhz for gpu in nvml.gpus if gpu.mhz is not None]
    power = [gpu.power_w for gpu in nvml.gpus if gpu.power_w is not None]
    own = tegra_clocks(scene) if jetson else None
    return CudaReadings(
        nodes=[name for name in _USED_NODES if scene.host.is_device(f"/dev/{name}")],
        memory_free_mib=min(free, default=None),
        celsius=max(heat, default=None),
        mhz=min(clocks, default=own.mhz if own else None),
        min_mhz=own.min_mhz if own else None,
        max_mhz=own.max_mhz if own else None,
        power_w=sum(power) if power else None,
        slowed_by=sorted({reason for gpu in nvml.gpus for reason in gpu.slowed_by}),
    )
