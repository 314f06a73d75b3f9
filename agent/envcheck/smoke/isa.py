"""Names the instruction sets that the C library found in the smoke child's process."""

from __future__ import annotations

from envcheck.contract.instruction_sets import ARM_NOISE, arm_names, x86_names
from envcheck.smoke.job import LoaderFeatures

# Machine -> architecture and size of a word.
_ARM = {"aarch64": ("aarch64", 64), "armv7l": ("arm", 32)}


def loader_isa(platform: str, found: LoaderFeatures) -> list[str]:
    """Return the sorted names, as the fact `cpu.isa` has them; `platform` is that of `ChildResult`."""
    if found.leaves:
        return sorted(x86_names(found.leaves)[0])
    architecture, bits = _ARM.get(platform.partition("-")[0], ("", 0))
    words = found.hwcap if len(found.hwcap) == 2 else [0, 0]
    return sorted(arm_names(architecture, bits, *words)[0] - ARM_NOISE)
