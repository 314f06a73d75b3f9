"""What looks wrong with the machine: its clock, disks, heat, processor, limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from envcheck.contract.fingerprint import Section
from envcheck.output.opaque import items, mapping, number, strings
from envcheck.output.remark import Remark, some

# Too little for a bundle, a spool and logs.
_SCARCE_MIB = 200
_GIB_IN_BYTES = 1024**3
# These drivers' `powersave` follows the load; the others' is the lowest frequency, always.
_DYNAMIC_POWERSAVE = ("intel_pstate", "amd-pstate-epp")


def about_system(sections: dict[str, Section]) -> Iterator[Remark]:
    """Look at the clock, at what slows the machine down, at full disks."""
    readings = sections["system"].readings
    if readings.get("clock_synchronised") is False:
        yield Remark(
            section="system",
            text="the clock is not synchronised: reports may be refused or look stale",
            hint="timedatectl set-ntp true",
        )
    now, before = strings(readings.get("slowed_by")), strings(readings.get("slowed_since_boot"))
    if now or before:
        text = f"slowed down now: {', '.join(now)}" if now else f"slowed down since boot: {', '.join(before)}"
        weak = "under-voltage" in {*now, *before}
        yield Remark(
            section="system",
            text=f"the processor is {text}" if now else f"the processor was {text}",
            hint="use a stronger power supply" if weak else "cool it: timings are not to be trusted",
        )
    full = [
        f"{place} ({free:g} MiB left)"
        for place, disk in mapping(readings.get("disks")).items()
        if (free := number(mapping(disk).get("free_mib"))) is not None and free < _SCARCE_MIB
    ]
    if full:
        yield Remark(section="system", text=f"almost full: {some(full)}", hint="make room there")


def about_cpu(sections: dict[str, Section]) -> Iterator[Remark]:
    """Look at instruction sets, at the frequency policy, at what may be used of the processor."""
    facts = sections["cpu"].shared
    isa = set(strings(facts.get("isa")))
    if "avx2" in isa and not isa & {"avx512_vnni", "avx_vnni"}:
        yield Remark(
            section="cpu",
            text="AVX2 without VNNI: int8 products of U8S8 models saturate here without any error",
            hint="quantise with uint8 weights or reduce_range; envcheck smoke shows whether a model suffers",
        )
    for told in map(mapping, items(facts.get("contradictions"))):
        yield _contradiction(told)
    quota, affinity = number(facts.get("quota")), number(facts.get("affinity"))
    if quota is not None and affinity is not None and quota < affinity:
        yield Remark(
            section="cpu",
            text=f"the control group grants {quota:g} CPUs of the {affinity:g} that threads are made for",
            hint="set intra_op_num_threads to the quota, or tails are throttled",
        )
    yield from _frequency(sections["cpu"])


def about_memory(sections: dict[str, Section]) -> Iterator[Remark]:
    """Look at the limit on the address space, which model files and CUDA count against in full."""
    limit = number(mapping(sections["memory"].device.get("limits")).get("as"))
    if limit is not None:
        yield Remark(
            section="memory",
            text=f"the address space is limited to {limit / _GIB_IN_BYTES:.1f} GiB: CUDA reserves more",
            hint="set LimitAS=infinity in the unit, and MemoryMax for the memory itself",
        )


def _contradiction(told: dict[str, object]) -> Remark:
    source = {"cpuid": "CPUID", "auxv": "the auxiliary vector"}.get(str(told.get("source")), "another source")
    parts = [
        f"{source} tells {some(strings(told.get('only_here')))}" if told.get("only_here") else "",
        f"/proc/cpuinfo alone tells {some(strings(told.get('only_in_cpuinfo')))}"
        if told.get("only_in_cpuinfo")
        else "",
    ]
    return Remark(
        section="cpu",
        text="/proc/cpuinfo is contradicted: " + "; ".join(part for part in parts if part),
        hint="masked or emulated: libraries choose kernels by CPUID and may meet instructions that fail",
    )


def _frequency(section: Section) -> Iterator[Remark]:
    facts = section.shared
    driver = str(facts.get("frequency_driver") or "")
    if "powersave" in strings(facts.get("governors")) and driver and driver not in _DYNAMIC_POWERSAVE:
        yield Remark(
            section="cpu",
            text="the governor powersave keeps the processor at its lowest frequency",
            hint="cpupower frequency-set --governor schedutil",
        )
    fastest = [speed for speed in map(number, items(facts.get("max_mhz"))) if speed]
    limits = [speed for speed in map(number, items(section.readings.get("limit_mhz"))) if speed]
    if fastest and limits and max(limits) < max(fastest):
        yield Remark(
            section="cpu",
            text=f"the processor is limited to {max(limits):g} of {max(fastest):g} MHz",
            hint="heat, a power mode (nvpmodel) or a setting: timings of the baseline will not be met",
        )
    if facts.get("offline"):
        yield Remark(
            section="cpu",
            text=f"processors {facts['offline']} are offline",
            hint="a power mode (nvpmodel) or a setting took them away",
        )
