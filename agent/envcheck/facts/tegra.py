"""What only a Jetson has: its L4T release, the GPU of its SoC, the power mode, the GPU's clocks."""

from __future__ import annotations

import re

from envcheck.facts.section import Facts, Scene

# Compiled when first used: most machines are no Jetson.
_L4T = r"#\s*R(\d{1,3})\s*\(\w+\),\s*REVISION:\s*([\d.]{1,12})"
_MODE = r"(?m)^<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=([\w.()|+-]{1,40})\s*>"
_DEFAULT = r"(?m)^<\s*PM_CONFIG\s+DEFAULT=(\d{1,4})\s*>"
_STATUS = r"pmode:(\d{1,6})"
_DEVFREQ = r"[0-9a-f]+\.(?:gpu|gp10b|gv11b|ga10b)|gpu-gpc-\d"
# Each SoC's GPU and its compute capability; NVML tells neither before JetPack 6.
_GPUS = {
    "tegra210": ("Tegra X1 (GM20B)", "5.3"),
    "tegra186": ("Tegra X2 (GP10B)", "6.2"),
    "tegra194": ("Xavier (GV11B)", "7.2"),
    "tegra234": ("Orin (GA10B)", "8.7"),
    "tegra264": ("Thor", "11.0"),
}


class Tegra(Facts, frozen=True, kw_only=True):
    """A Jetson: its module and SoC from the device tree, and the power mode that nvpmodel set."""

    module: str = ""
    soc: str = ""
    power_mode: int | None = None
    power_mode_name: str = ""


class TegraClocks(Facts, frozen=True, kw_only=True):
    """The GPU's clock now, and the limits on it, in MHz: heat and jetson_clocks change them."""

    mhz: int | None = None
    min_mhz: int | None = None
    max_mhz: int | None = None


def parse_l4t(text: str) -> str:
    """Read /etc/nv_tegra_release (`# R36 (release), REVISION: 4.0, ...`) as `36.4.0`, "" when it is none."""
    match = re.search(_L4T, text[:4096]) if text else None
    return f"{match.group(1)}.{match.group(2)}" if match else ""


def parse_power_mode(status: str, modes: str) -> tuple[int | None, str]:
    """Return number and name of the power mode, from nvpmodel's status file and its configuration."""
    match = re.search(_STATUS, status[:4096]) or re.search(_DEFAULT, modes)
    if match is None:
        return None, ""
    number = int(match.group(1))
    return number, next((name for found, name in re.findall(_MODE, modes) if int(found) == number), "")


def tegra(scene: Scene) -> Tegra | None:
    """Describe the Jetson; None on any other machine."""
    compatible = (scene.text("/proc/device-tree/compatible") or "").split("\0")
    soc = next((name[7:] for name in compatible if name.startswith("nvidia,tegra")), "")
    if not soc:
        return None
    number, name = parse_power_mode(
        scene.text("/var/lib/nvpmodel/status") or "", scene.text("/etc/nvpmodel.conf") or ""
    )
    module = compatible[0].partition(",")[2]
    return Tegra(module=module, soc=soc, power_mode=number, power_mode_name=name)


def tegra_gpu(soc: str) -> tuple[str, str]:
    """Return the name and compute capability of a SoC's GPU, "" where they are not known."""
    return _GPUS.get(soc, ("", ""))


def tegra_clocks(scene: Scene) -> TegraClocks:
    """Read the GPU's clocks."""
    base = "/sys/class/devfreq"
    name = next((name for name in scene.names(base) if re.fullmatch(_DEVFREQ, name)), "")
    if not name:
        return TegraClocks()
    mhz = {
        key: hertz // 1_000_000
        for key in ("cur_freq", "min_freq", "max_freq")
        # 0 is a GPU that is powered off.
        if (hertz := scene.number(f"{base}/{name}/{key}"))
    }
    return TegraClocks(mhz=mhz.get("cur_freq"), min_mhz=mhz.get("min_freq"), max_mhz=mhz.get("max_freq"))
