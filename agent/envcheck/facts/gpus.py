"""The GPUs of a machine, from what NVML answered and from the driver's own files. Pure."""

from __future__ import annotations

import msgspec

from envcheck.facts.section import Facts, integer, pairs
from envcheck.facts.tegra import tegra_gpu

# NVML's bits for why a GPU's clocks are lowered; idleness and chosen clocks are no such reason.
_SLOWED = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
_COMPUTE_MODES = {0: "default", 1: "exclusive-thread", 2: "prohibited", 3: "exclusive-process"}


class Mig(Facts, frozen=True, kw_only=True):
    """One partition of a GPU: its profile (`1g.5gb`) and memory."""

    profile: str = ""
    memory_mib: int | None = None


class Gpu(Facts, frozen=True, kw_only=True):
    """One GPU, as NVML tells it; what the driver does not support is left out.

    `mig` is whether it is partitioned and `partitions` how. `power_limit_w` is the one that is set, beside
    the factory's. `compute_mode` says who may use it.
    """

    name: str = ""
    capability: str = ""
    memory_mib: int | None = None
    ecc: bool | None = None
    mig: bool | None = None
    partitions: list[Mig] = []
    persistence: bool | None = None
    compute_mode: str = ""
    power_limit_w: int | None = None
    power_limit_default_w: int | None = None
    max_mhz: int | None = None


class ToldMig(msgspec.Struct, frozen=True, kw_only=True):
    """A partition as `nvml.py` prints it."""

    name: str | None = None
    uuid: str | None = None
    memory_mib: int | None = None


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
    partitions: list[ToldMig] = []
    persistence: bool | None = None
    compute_mode: int | None = None
    power_limit_w: int | None = None
    power_limit_default_w: int | None = None
    power_w: int | None = None
    max_mhz: int | None = None
    mhz: int | None = None
    slowed: int | None = None
    celsius: int | None = None

    @property
    def slowed_by(self) -> list[str]:
        """Why its clocks are lowered now."""
        return [name for bit, name in _SLOWED.items() if (self.slowed or 0) & bit]


class Nvml(msgspec.Struct, frozen=True, kw_only=True):
    """What `nvml.py` prints. `error` says why there are no GPUs in it."""

    error: str = ""
    driver: str | None = None
    cuda: str | None = None
    count: int = 0
    gpus: list[ToldGpu] = []

    def uuids(self) -> list[str]:
        """Return the identities of all GPUs and partitions."""
        found = [[gpu.uuid, *(part.uuid for part in gpu.partitions)] for gpu in self.gpus]
        return [uuid for uuids in found for uuid in uuids if uuid]


class Information(msgspec.Struct, kw_only=True):
    """A GPU as the driver's own file tells it; `partitions` are the GPU instances of MIG."""

    model: str = ""
    uuid: str = ""
    minor: int = 0
    partitions: int = 0


def parse_nvml(output: bytes) -> Nvml:
    """Read what `nvml.py` printed; anything else is an error of its own."""
    try:
        return msgspec.json.decode(output, type=Nvml)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Nvml(error="no answer that can be read")


def parse_information(text: str) -> Information:
    """Read /proc/driver/nvidia/gpus/ADDRESS/information."""
    found = pairs(text[:4096])
    uuid = found.get("GPU UUID", "")
    return Information(
        model=found.get("Model", ""),
        uuid="" if "?" in uuid else uuid,
        minor=integer(found.get("Device Minor", "")) or 0,
    )


def gpus(nvml: Nvml, informed: list[Information], soc: str) -> list[Gpu]:
    """Return the GPUs: as NVML tells them, else as the driver's files do, else that of the Jetson's SoC."""
    if nvml.gpus:
        return [_told(gpu, soc) for gpu in nvml.gpus]
    if informed:
        return [_informed(item) for item in informed]
    name, capability = tegra_gpu(soc)
    return [Gpu(name=name, capability=capability)] if name else []


def _told(gpu: ToldGpu, soc: str) -> Gpu:
    # A Jetson's NVML knows the GPU, but not always what it is capable of.
    return Gpu(
        name=gpu.name or tegra_gpu(soc)[0],
        capability=gpu.capability or tegra_gpu(soc)[1],
        memory_mib=gpu.memory_mib,
        ecc=gpu.ecc,
        mig=gpu.mig,
        partitions=[
            Mig(profile=(part.name or "").rpartition("MIG ")[2], memory_mib=part.memory_mib)
            for part in gpu.partitions
        ],
        persistence=gpu.persistence,
        compute_mode=_COMPUTE_MODES.get(gpu.compute_mode, "") if gpu.compute_mode is not None else "",
        power_limit_w=gpu.power_limit_w,
        power_limit_default_w=gpu.power_limit_default_w,
        max_mhz=gpu.max_mhz,
    )


def _informed(item: Information) -> Gpu:
    return Gpu(name=item.model, mig=True if item.partitions else None, partitions=[Mig()] * item.partitions)
