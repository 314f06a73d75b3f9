"""What /proc/cpuinfo tells of the processors. Pure."""

from __future__ import annotations

from collections import Counter

from envcheck.facts.isa import arm_isa, arm_level, arm_part, arm_vendor, x86_isa, x86_level
from envcheck.facts.section import Facts


class Core(Facts, frozen=True, kw_only=True):
    """One kind of core: on Arm by its part, on a hybrid x86 `performance`, `efficiency` or `low-power`.

    `count` is how many there are, `cpus` which (as the kernel lists them), `capacity` how much one does
    (1024 is the most), `max_mhz` how fast one may run.
    """

    implementer: str = ""
    part: str = ""
    name: str
    count: int
    cpus: str = ""
    capacity: int | None = None
    max_mhz: int | None = None


class Identity(Facts, frozen=True, kw_only=True):
    """What /proc/cpuinfo tells; `parts` are implementer and part of each processor on Arm."""

    architecture: str
    vendor: str = ""
    model: str = ""
    isa: list[str] = []
    level: str = ""
    threads: int = 0
    cores: int | None = None
    sockets: int | None = None
    kinds: list[Core] = []
    parts: dict[int, tuple[str, str]] = {}
    microcode: str = ""


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
    parts = [(block.get("CPU implementer", ""), block.get("CPU part", "")) for block in blocks]
    kinds = [
        Core(implementer=implementer, part=part, name=arm_part(implementer, part), count=count)
        for (implementer, part), count in sorted(Counter(parts).items())
    ]
    return Identity(
        architecture="aarch64" if "asimd" in isa else "arm",
        vendor=" ".join(dict.fromkeys(arm_vendor(kind.implementer) for kind in kinds)),
        model=" + ".join(kind.name for kind in kinds),
        isa=isa,
        level=arm_level(isa),
        threads=len(blocks),
        kinds=kinds,
        parts=dict(zip((_number(block, place) for place, block in enumerate(blocks)), parts, strict=True)),
    )


def _number(block: dict[str, str], place: int) -> int:
    """Return a processor's own number: those offline are not listed."""
    text = block.get("processor", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else place
