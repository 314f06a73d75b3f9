"""Section `cpu`: what computes, which instructions it has, and how much of it we may use."""

from __future__ import annotations

import os

import msgspec

from envcheck.contract.fingerprint import Section
from envcheck.facts.auxv import Auxv, own_auxv, platform_name
from envcheck.facts.cgroup import cpu_quota, throttled_periods
from envcheck.facts.cpu_identity import Core, Identity, parse_cpuinfo
from envcheck.facts.cpu_sysfs import CPUS, Frequencies, caches, cores_and_sockets, frequencies, kinds, numa
from envcheck.facts.cpuid import Cpuid, ask_cpuid, parse_cpuid
from envcheck.facts.isa import arm_isa, x86_level
from envcheck.facts.section import Facts, Scene, Unavailable, clean, cpu_list, pairs, section

_X86 = ("x86_64", "x86")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Contradiction(Facts, frozen=True, kw_only=True):
    """Where another source (`auxv`, `cpuid`) tells other instruction sets than /proc/cpuinfo."""

    source: str
    only_here: list[str] = []
    only_in_cpuinfo: list[str] = []


class CpuFacts(Facts, frozen=True, kw_only=True):
    """What two devices of one image have in common.

    `isa` are the instruction sets that every core has, by one name each, as /proc/cpuinfo tells them;
    `level` is x86-64-v1 to v4 or armv8.0 and up; `platform` is the kernel's own name for it (AT_PLATFORM).
    `threads` are logical processors online, `offline` and `isolated` those that are not to be had,
    `affinity` how many this process may use, `quota` how many CPUs' time its control group grants (absent:
    no limit). Caches are in bytes, of the first core; `numa` are the processors of each node.
    `governors`, `frequency_driver`, `max_mhz` and `boost` are the frequency policy.
    """

    architecture: str
    vendor: str = ""
    model: str = ""
    isa: list[str] = []
    level: str = ""
    platform: str = ""
    contradictions: list[Contradiction] = []
    threads: int = 0
    cores: int | None = None
    sockets: int | None = None
    smt: str = ""
    kinds: list[Core] = []
    offline: str = ""
    isolated: str = ""
    numa: dict[str, str] = {}
    caches: dict[str, int] = {}
    microcode: str = ""
    affinity: int | None = None
    quota: float | None = None
    governors: list[str] = []
    frequency_driver: str = ""
    max_mhz: list[int] = []
    boost: bool | None = None


class CpuDevice(Facts, frozen=True, kw_only=True):
    """Which processors this process may use, and what of the CPU's files may not be read."""

    affinity: list[int] = []
    unreadable: list[str] = []


class CpuReadings(Facts, frozen=True, kw_only=True):
    """What changes: the first core's frequency, the limits on it (heat lowers them), throttled periods."""

    mhz: int | None = None
    limit_mhz: list[int] = []
    energy_preferences: list[str] = []
    throttled_periods: int | None = None


def gather(scene: Scene) -> Section:
    """Read /proc/cpuinfo, the auxiliary vector and /sys; ask for CPUID on x86."""
    auxv = own_auxv(scene.host)
    cpuinfo = parse_cpuinfo(scene.text("/proc/cpuinfo") or "")
    contradictions = _contradictions(scene, cpuinfo, auxv) if cpuinfo else []
    identity = cpuinfo or _elsewhere(scene)
    online = cpu_list(scene.text(f"{CPUS}/online") or "")
    affinity = _affinity(scene)
    frequency = frequencies(scene)
    return section(
        _facts(scene, identity, contradictions, online, affinity, frequency),
        CpuDevice(affinity=affinity, unreadable=scene.unreadable),
        CpuReadings(
            mhz=frequency.mhz,
            limit_mhz=frequency.limit_mhz,
            energy_preferences=frequency.energy_preferences,
            throttled_periods=throttled_periods(scene),
        ),
    )


def _facts(
    scene: Scene,
    identity: Identity,
    contradictions: list[Contradiction],
    online: list[int],
    affinity: list[int],
    frequency: Frequencies,
) -> CpuFacts:
    cores, sockets = identity.cores, identity.sockets
    if cores is None:
        cores, sockets = cores_and_sockets(scene, online)
    return CpuFacts(
        architecture=identity.architecture,
        vendor=identity.vendor,
        model=identity.model,
        isa=identity.isa,
        level=identity.level,
        platform=clean(scene.host.answer("platform", platform_name)),
        contradictions=contradictions,
        threads=len(online) or identity.threads,
        cores=cores,
        sockets=sockets,
        smt=scene.text(f"{CPUS}/smt/control") or "",
        kinds=kinds(scene, identity),
        offline=scene.text(f"{CPUS}/offline") or "",
        isolated=scene.text(f"{CPUS}/isolated") or "",
        numa=numa(scene),
        caches=caches(scene),
        microcode=identity.microcode,
        affinity=len(affinity) or None,
        quota=cpu_quota(scene),
        governors=frequency.governors,
        frequency_driver=frequency.driver,
        max_mhz=frequency.max_mhz,
        boost=frequency.boost,
    )


def _elsewhere(scene: Scene) -> Identity:
    """Ask what else this platform has to tell: a system without /proc, a container that masks it."""
    if "/proc/cpuinfo" in scene.unreadable:
        raise Unavailable("unreadable", "/proc/cpuinfo may not be read")
    found = None
    if scene.host.live:
        from envcheck.facts.py_cpuinfo import ask_identity, parse_identity

        found = parse_identity(ask_identity(scene.host, scene.text(_BOOT_ID) or ""))
    if found is None:
        raise Unavailable("absent", "/proc/cpuinfo describes no processor")
    if found.architecture not in _X86:
        return found
    told, asked = _cpuid(scene).named()
    isa = sorted(set(found.isa) - asked | told)
    return msgspec.structs.replace(found, isa=isa, level=x86_level(isa))


def _cpuid(scene: Scene) -> Cpuid:
    boot_id = scene.text(_BOOT_ID) or ""
    return parse_cpuid(scene.host.answer("cpuid.json", lambda: ask_cpuid(scene.host, boot_id)))


def _contradictions(scene: Scene, identity: Identity, auxv: Auxv | None) -> list[Contradiction]:
    """Compare /proc/cpuinfo with what the kernel and the processor tell this process."""
    found = []
    if auxv is not None:
        told, asked = auxv.named(identity.architecture)
        if identity.architecture not in _X86:
            told, asked = set(arm_isa(told)), set(arm_isa(asked))
        found.append(_compare("auxv", identity, told, asked))
    if identity.architecture in _X86:
        found.append(_compare("cpuid", identity, *_cpuid(scene).named()))
    return [item for item in found if item.only_here or item.only_in_cpuinfo]


def _compare(source: str, identity: Identity, told: set[str], asked: set[str]) -> Contradiction:
    isa = set(identity.isa)
    return Contradiction(
        source=source, only_here=sorted(told - isa), only_in_cpuinfo=sorted((isa & asked) - told)
    )


def _affinity(scene: Scene) -> list[int]:
    """Return the processors that the serving process may use: its unit's, or those of this process."""
    if scene.target.affinity:
        return sorted(scene.target.affinity)
    listed = cpu_list(pairs(scene.text("/proc/self/status") or "").get("Cpus_allowed_list", ""))
    if listed or not scene.host.live or scene.target.container:
        return listed
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
