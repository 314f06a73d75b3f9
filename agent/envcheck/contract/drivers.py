"""Which CUDA a driver runs: what was built for a newer major version does not start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_VERSION = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?")
# The oldest Linux driver that runs any program built for a major version of CUDA. From NVIDIA's "CUDA
# Compatibility" (minor version compatibility) and the release notes of the CUDA Toolkit, table "CUDA Toolkit
# and Corresponding Driver Versions"; before 11 it is the first release's.
_OLDEST_DRIVER = {
    8: (367, 48, 0),
    9: (384, 81, 0),
    10: (410, 48, 0),
    11: (450, 80, 2),
    12: (525, 60, 13),
    13: (580, 65, 6),
}
# On a Jetson the driver is part of the system; from L4T 34 on a compatibility package brings newer CUDA.
_NEWEST_ON_TEGRA = {28: 9, 32: 10}


def too_old_for(facts: Mapping[str, Any], built_for: str) -> str:
    """Say why a build for CUDA `built_for` can't run under the driver of the section `cuda`'s `facts`.

    Empty when it can, or when nobody knows: within one major version CUDA promises to work on an older
    driver.
    """
    needed = _version(built_for)
    if needed is None:
        return ""
    offered = _version(facts.get("driver_cuda"))
    if offered is not None:
        told = f"{offered[0]}.{offered[1]}"
        return f"the driver supports only {told}" if offered[0] < needed[0] else ""
    l4t = _version(facts.get("l4t"))
    if l4t is not None:
        newest = _NEWEST_ON_TEGRA.get(l4t[0])
        return f"L4T {facts['l4t']} has CUDA {newest}" if newest and newest < needed[0] else ""
    driver, oldest = _version(facts.get("driver")), _OLDEST_DRIVER.get(needed[0])
    if driver is None or oldest is None or driver >= oldest:
        return ""
    return f"which needs a driver of {_dotted(oldest)} at least: this one is {facts['driver']}"


def _version(value: Any) -> tuple[int, int, int] | None:
    match = _VERSION.match(value) if isinstance(value, str) else None
    return (int(match[1]), int(match[2] or 0), int(match[3] or 0)) if match else None


def _dotted(version: tuple[int, int, int]) -> str:
    return f"{version[0]}.{version[1]:02}" + (f".{version[2]:02}" if version[2] else "")
