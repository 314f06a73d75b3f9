"""The class of a device: timings are compared within one class, and budgets are stated for one."""

from __future__ import annotations

from envcheck.contract.fingerprint import SharedFingerprint
from envcheck.judge.facts_of import items, text
from envcheck.judge.tolerance import CPU


def device_class(device: SharedFingerprint, provider: str = CPU) -> str:
    """Name what decides how fast a model runs here, "" when nothing of it is known.

    A board that the device tree names is its own class, whatever its revision, in the power mode of a Jetson;
    elsewhere the processor is, since machines of one product name hold different ones. Another first
    provider than the CPU's follows, with its GPU: `Intel(R) N100`, `NVIDIA Jetson Orin Nano (MAXN);
    CUDAExecutionProvider`.
    """
    board, gpus = _board(device), ""
    machine = board or text(device, "cpu.model")
    if provider == CPU or not machine:
        return machine
    if not board:
        names = sorted(
            {name for gpu in items(device, "cuda.gpus") if isinstance(name := gpu.get("name"), str)}
        )
        gpus = f" ({', '.join(names)})" if names else ""
    return f"{machine}; {provider}{gpus}"


def _board(device: SharedFingerprint) -> str:
    """Return the board's name where the processor is part of it: DMI tells a vendor, a device tree none."""
    name = text(device, "system.board.model")
    if not name or text(device, "system.board.vendor") or text(device, "system.vm"):
        return ""
    mode = text(device, "cuda.jetson.power_mode_name")
    return name.partition(" Rev ")[0] + (f" ({mode})" if mode else "")
