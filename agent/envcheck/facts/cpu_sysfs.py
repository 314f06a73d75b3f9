"""What /sys tells of the processors: kinds of cores, caches, NUMA nodes, frequencies."""

from __future__ import annotations

from collections.abc import Iterable

from envcheck.facts.cpu_identity import Core, Identity
from envcheck.facts.isa import arm_part
from envcheck.facts.section import Facts, Scene, cpu_list, integer

CPUS = "/sys/devices/system/cpu"
_SIZES = {"K": 1024, "M": 1024 * 1024, "G": 1024 * 1024 * 1024}
# The kernel counts each kind's events apart, and lists the processors of each.
_HYBRID = (("cpu_core", "performance"), ("cpu_atom", "efficiency"), ("cpu_lowpower", "low-power"))
_MAX_NODES = 64


class Frequencies(Facts, frozen=True, kw_only=True):
    """The frequency policies of all processors, each value once."""

    governors: list[str] = []
    driver: str = ""
    boost: bool | None = None
    max_mhz: list[int] = []
    limit_mhz: list[int] = []
    energy_preferences: list[str] = []
    mhz: int | None = None


def kinds(scene: Scene, identity: Identity) -> list[Core]:
    """Return the kinds of cores: on Arm by part and capacity, on a hybrid x86 by the kernel's lists."""
    if identity.parts:
        return _arm_kinds(scene, identity.parts)
    found = []
    for folder, name in _HYBRID:
        text = scene.text(f"/sys/devices/{folder}/cpus")
        if text and (numbers := cpu_list(text)):
            fastest = _fastest(scene, numbers)
            found.append(Core(name=name, count=len(numbers), cpus=short_list(numbers), max_mhz=fastest))
    return found


def cores_and_sockets(scene: Scene, numbers: Iterable[int]) -> tuple[int | None, int | None]:
    """Count cores and sockets by the topology of each processor, where /proc/cpuinfo does not tell."""
    cores, sockets = set(), set()
    for number in numbers:
        folder = f"{CPUS}/cpu{number}/topology"
        core, package = scene.number(f"{folder}/core_id"), scene.number(f"{folder}/physical_package_id")
        if core is not None and package is not None:
            # A cluster may count its cores from 0 again.
            cores.add((package, scene.text(f"{folder}/cluster_id"), core))
            sockets.add(package)
    return len(cores) or None, len(sockets) or None


def caches(scene: Scene) -> dict[str, int]:
    """Return the sizes in bytes of the first core's caches, by level and kind (`l1d`, `l2`)."""
    base = f"{CPUS}/cpu0/cache"
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


def numa(scene: Scene) -> dict[str, str]:
    """Return the processors of each NUMA node, as the kernel lists them."""
    base = "/sys/devices/system/node"
    nodes = cpu_list(scene.text(f"{base}/online") or "")[:_MAX_NODES]
    return {str(node): scene.text(f"{base}/node{node}/cpulist") or "" for node in nodes}


def frequencies(scene: Scene) -> Frequencies:
    """Read the frequency policies."""
    base = f"{CPUS}/cpufreq"
    names = scene.names(base)
    folders = [f"{base}/{name}" for name in names if name.startswith("policy")]
    return Frequencies(
        governors=_texts(scene, folders, "scaling_governor"),
        driver=" ".join(_texts(scene, folders[:1], "scaling_driver")),
        boost=_boost(scene),
        max_mhz=_mhz(scene, folders, "cpuinfo_max_freq"),
        limit_mhz=_mhz(scene, folders, "scaling_max_freq"),
        energy_preferences=_texts(scene, folders, "energy_performance_preference"),
        mhz=next(iter(_mhz(scene, folders[:1], "scaling_cur_freq")), None),
    )


def parse_size(text: str) -> int | None:
    """Read a cache's size (`512K`) in bytes."""
    unit = _SIZES.get(text.strip()[-1:], 0)
    number = integer(text.strip()[:-1] if unit else text)
    return None if number is None or number < 0 else number * (unit or 1)


def short_list(numbers: Iterable[int]) -> str:
    """Write numbers as the kernel lists processors (`0-3,8`)."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def _arm_kinds(scene: Scene, parts: dict[int, tuple[str, str]]) -> list[Core]:
    groups: dict[tuple[str, str, int | None], list[int]] = {}
    for number, (implementer, part) in parts.items():
        capacity = scene.number(f"{CPUS}/cpu{number}/cpu_capacity")
        groups.setdefault((implementer, part, capacity), []).append(number)
    return [
        Core(
            implementer=implementer,
            part=part,
            name=arm_part(implementer, part),
            count=len(numbers),
            cpus=short_list(numbers),
            capacity=capacity,
            max_mhz=_fastest(scene, numbers),
        )
        for (implementer, part, capacity), numbers in sorted(
            groups.items(), key=lambda group: (group[0][0], group[0][1], group[0][2] or 0)
        )
    ]


def _fastest(scene: Scene, numbers: Iterable[int]) -> int | None:
    """Return the highest frequency of any: which core of a kind is the favoured one differs by chip."""
    return max(
        _mhz(scene, [f"{CPUS}/cpu{number}/cpufreq" for number in numbers], "cpuinfo_max_freq"), default=None
    )


def _boost(scene: Scene) -> bool | None:
    """Whether frequencies above the nominal one are allowed; None where nobody tells."""
    denied = scene.number(f"{CPUS}/intel_pstate/no_turbo")
    if denied is not None:
        return denied == 0
    allowed = scene.number(f"{CPUS}/cpufreq/boost")
    return None if allowed is None else allowed != 0


def _texts(scene: Scene, folders: list[str], name: str) -> list[str]:
    return sorted({scene.text(f"{folder}/{name}") or "" for folder in folders} - {""})


def _mhz(scene: Scene, folders: list[str], name: str) -> list[int]:
    return sorted({(scene.number(f"{folder}/{name}") or 0) // 1000 for folder in folders} - {0})
