"""Section `cpu`: what computes, which instructions it has, and how much of it we may use."""

from __future__ import annotations

import os
from collections import Counter

from envcheck.contract.fingerprint import Section
from envcheck.facts.cgroup import cpu_quota
from envcheck.facts.isa import arm_isa, arm_level, arm_part, arm_vendor, x86_isa, x86_level
from envcheck.facts.section import Facts, Scene, Unavailable, cpu_list, integer, section

_CPUS = "/sys/devices/system/cpu"
_SIZES = {"K": 1024, "M": 1024 * 1024, "G": 1024 * 1024 * 1024}


class Core(Facts, frozen=True, kw_only=True):
    """One kind of core on Arm: `name` is the part's, `count` how many there are."""

    implementer: str
    part: str
    name: str
    count: int


class CpuFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common.

    `isa` are the instruction sets that every core has, by one name each; `level` is x86-64-v1 to v4 or
    armv8.0 and up. `threads` are logical processors online, `affinity` how many of them this process may use,
    `quota` how many CPUs' time its control group grants (absent: no limit). Caches are in bytes,
    of the first core. `governors` and `max_mhz` are the frequency policy.
    """

    architecture: str
    vendor: str = ""
    model: str = ""
    isa: list[str] = []
    level: str = ""
    threads: int = 0
    cores: int | None = None
    sockets: int | None = None
    kinds: list[Core] = []
    caches: dict[str, int] = {}
    microcode: str = ""
    affinity: int | None = None
    quota: float | None = None
    governors: list[str] = []
    max_mhz: list[int] = []


class CpuDevice(Facts, frozen=True, kw_only=True):
    """Which processors this process may use, and what of the CPU's files may not be read."""

    affinity: list[int] = []
    unreadable: list[str] = []


class CpuReadings(Facts, frozen=True, kw_only=True):
    """The frequency of the first core now."""

    mhz: int | None = None


class Identity(Facts, frozen=True, kw_only=True):
    """What /proc/cpuinfo tells."""

    architecture: str
    vendor: str = ""
    model: str = ""
    isa: list[str] = []
    level: str = ""
    threads: int = 0
    cores: int | None = None
    sockets: int | None = None
    kinds: list[Core] = []
    microcode: str = ""


def gather(scene: Scene) -> Section:
    """Read /proc/cpuinfo and /sys; ask the kernel for the affinity on the running machine."""
    identity = parse_cpuinfo(scene.text("/proc/cpuinfo") or "")
    if identity is None:
        if "/proc/cpuinfo" in scene.unreadable:
            raise Unavailable("unreadable", "/proc/cpuinfo may not be read")
        raise Unavailable("absent", "/proc/cpuinfo describes no processor")
    online = cpu_list(scene.text(f"{_CPUS}/online") or "")
    affinity = sorted(os.sched_getaffinity(0)) if scene.host.live else []
    policies = [
        f"{_CPUS}/cpufreq/{name}" for name in scene.names(f"{_CPUS}/cpufreq") if name.startswith("policy")
    ]
    return section(
        CpuFacts(
            architecture=identity.architecture,
            vendor=identity.vendor,
            model=identity.model,
            isa=identity.isa,
            level=identity.level,
            threads=len(online) or identity.threads,
            cores=identity.cores,
            sockets=identity.sockets,
            kinds=identity.kinds,
            caches=_caches(scene),
            microcode=identity.microcode,
            affinity=len(affinity) or None,
            quota=cpu_quota(scene),
            governors=sorted({scene.text(f"{policy}/scaling_governor") or "" for policy in policies} - {""}),
            max_mhz=sorted(
                {(scene.number(f"{policy}/cpuinfo_max_freq") or 0) // 1000 for policy in policies} - {0}
            ),
        ),
        CpuDevice(affinity=affinity, unreadable=scene.unreadable),
        CpuReadings(mhz=_mhz(scene, policies)),
    )


def parse_cpuinfo(text: str) -> Identity | None:
    """Read /proc/cpuinfo of x86 or Arm; None when no processor is described."""
    blocks, common = parse_blocks(text)
    if not blocks:
        return None
    first = blocks[0]
    if "flags" in first:
        return _x86(blocks)
    if "CPU implementer" in first or "Features" in first or "CPU implementer" in common:
        return _arm([{**common, **block} for block in blocks])
    model = first.get("model name") or first.get("cpu") or common.get("cpu") or ""
    return Identity(architecture="", model=model, threads=len(blocks))


def parse_blocks(text: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Split /proc/cpuinfo into one mapping a processor, and the lines that belong to none.

    Lines are told apart by the field `processor`: old Arm kernels leave out the empty line.
    """
    blocks: list[dict[str, str]] = []
    common: dict[str, str] = {}
    current = common
    for line in text.splitlines():
        name, has, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not has:
            current = common if not line.strip() else current
        elif name == "processor":
            current = {name: value}
            blocks.append(current)
        else:
            current.setdefault(name, value)
    return blocks, common


def parse_size(text: str) -> int | None:
    """Read a cache's size (`512K`) in bytes."""
    unit = _SIZES.get(text.strip()[-1:], 0)
    number = integer(text.strip()[:-1] if unit else text)
    return None if number is None or number < 0 else number * (unit or 1)


def _x86(blocks: list[dict[str, str]]) -> Identity:
    first = blocks[0]
    isa = x86_isa(
        set.intersection(*(set(flags.split()) for flags in {block.get("flags", "") for block in blocks}))
    )
    cores = {(block.get("physical id"), block.get("core id")) for block in blocks if "core id" in block}
    sockets = {block["physical id"] for block in blocks if "physical id" in block}
    return Identity(
        architecture="x86_64" if "lm" in isa else "x86",
        vendor=first.get("vendor_id", ""),
        model=" ".join(first.get("model name", "").split()),
        isa=isa,
        level=x86_level(isa),
        threads=len(blocks),
        cores=len(cores) or None,
        sockets=len(sockets) or None,
        microcode=first.get("microcode", ""),
    )


def _arm(blocks: list[dict[str, str]]) -> Identity:
    features = {block.get("Features", "") for block in blocks}
    isa = arm_isa(set.intersection(*(set(text.split()) for text in features)))
    counted = Counter((block.get("CPU implementer", ""), block.get("CPU part", "")) for block in blocks)
    kinds = [
        Core(implementer=implementer, part=part, name=arm_part(implementer, part), count=count)
        for (implementer, part), count in sorted(counted.items())
    ]
    return Identity(
        architecture="aarch64" if "asimd" in isa else "arm",
        vendor=" ".join(dict.fromkeys(arm_vendor(kind.implementer) for kind in kinds)),
        model=" + ".join(kind.name for kind in kinds),
        isa=isa,
        level=arm_level(isa),
        threads=len(blocks),
        kinds=kinds,
    )


def _caches(scene: Scene) -> dict[str, int]:
    base = f"{_CPUS}/cpu0/cache"
    found: dict[str, int] = {}
    for name in scene.names(base):
        if not name.startswith("index"):
            continue
        level = scene.number(f"{base}/{name}/level")
        size = parse_size(scene.text(f"{base}/{name}/size") or "")
        kind = {"Data": "d", "Instruction": "i"}.get(scene.text(f"{base}/{name}/type") or "", "")
        if level is not None and size is not None:
            found[f"l{level}{kind}"] = size
    return found


def _mhz(scene: Scene, policies: list[str]) -> int | None:
    khz = scene.number(f"{policies[0]}/scaling_cur_freq") if policies else None
    return None if khz is None else khz // 1000
