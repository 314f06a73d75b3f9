"""Ask NVIDIA's management library. Runs in a process of its own, which may hang or crash without harm.

Standard library only; prints one JSON document. A call that is not supported leaves out one fact.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

_LIBRARIES = ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
# Where there is no management library (JetPack before 6) the driver's own tells which CUDA it supports.
_DRIVERS = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
_TEXT_BYTES = 96
_MAX_GPUS = 64
_NO_PERMISSION = 4
_CELSIUS_SENSOR = 0
_SM_CLOCK = 1


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def main(names: tuple[str, ...] = _LIBRARIES, drivers: tuple[str, ...] = _DRIVERS) -> None:
    """Print what the libraries tell; `error` where the management library tells nothing."""
    library = _load(names)
    told: dict[str, Any] = {"error": "no library"} if library is None else describe(library)
    if told.get("cuda") is None:
        told["cuda"] = cuda_version(drivers)
    os.write(1, json.dumps(told).encode("ascii"))


def cuda_version(names: tuple[str, ...]) -> str | None:
    """Return the newest CUDA that the driver supports, from the driver's library; no GPU is touched."""
    library = _load(names)
    value = ctypes.c_int()
    if library is None or not _call(library, "cuDriverGetVersion", ctypes.byref(value)):
        return None
    return _dotted(value.value)


def describe(library: ctypes.CDLL) -> dict[str, Any]:
    """Return driver, CUDA version and every GPU."""
    begin = getattr(library, "nvmlInit_v2", None)
    if begin is None:
        return {"error": "a library of another kind"}
    code = begin()
    if code:
        return {"error": "no permission" if code == _NO_PERMISSION else f"NVML code {code}"}
    count = _number(library, "nvmlDeviceGetCount_v2") or 0
    cuda = _number(library, "nvmlSystemGetCudaDriverVersion_v2", kind=ctypes.c_int)
    gpus = [_gpu(library, index) for index in range(min(count, _MAX_GPUS))]
    return {
        "driver": _text(library, "nvmlSystemGetDriverVersion"),
        "cuda": None if cuda is None else _dotted(cuda),
        "count": count,
        "gpus": [gpu for gpu in gpus if gpu is not None],
    }


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _load(names: tuple[str, ...]) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _gpu(library: ctypes.CDLL, index: int) -> dict[str, Any] | None:
    handle = ctypes.c_void_p()
    if not _call(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)):
        return None
    total, free = _memory(library, handle)
    return {
        "name": _text(library, "nvmlDeviceGetName", handle),
        "uuid": _text(library, "nvmlDeviceGetUUID", handle),
        "serial": _text(library, "nvmlDeviceGetSerial", handle),
        "capability": _capability(library, handle),
        "memory_mib": total,
        "memory_free_mib": free,
        "ecc": _mode(library, "nvmlDeviceGetEccMode", handle),
        "mig": _mode(library, "nvmlDeviceGetMigMode", handle),
        "partitions": _partitions(library, handle),
        "persistence": _flag(_number(library, "nvmlDeviceGetPersistenceMode", handle)),
        "compute_mode": _number(library, "nvmlDeviceGetComputeMode", handle),
        "power_limit_w": _watts(library, "nvmlDeviceGetPowerManagementLimit", handle),
        "power_limit_default_w": _watts(library, "nvmlDeviceGetPowerManagementDefaultLimit", handle),
        "power_w": _watts(library, "nvmlDeviceGetPowerUsage", handle),
        "max_mhz": _indexed(library, "nvmlDeviceGetMaxClockInfo", handle, _SM_CLOCK),
        "mhz": _indexed(library, "nvmlDeviceGetClockInfo", handle, _SM_CLOCK),
        "slowed": _number(
            library, "nvmlDeviceGetCurrentClocksThrottleReasons", handle, kind=ctypes.c_ulonglong
        ),
        "celsius": _indexed(library, "nvmlDeviceGetTemperature", handle, _CELSIUS_SENSOR),
    }


def _partitions(library: ctypes.CDLL, handle: Any) -> list[dict[str, Any]]:
    """Describe the MIG devices of a GPU; their places may have gaps."""
    found = []
    count = _number(library, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0
    for index in range(min(count, _MAX_GPUS)):
        part = ctypes.c_void_p()
        arguments = (handle, ctypes.c_uint(index), ctypes.byref(part))
        if _call(library, "nvmlDeviceGetMigDeviceHandleByIndex", *arguments):
            name, uuid = (_text(library, f"nvmlDeviceGet{what}", part) for what in ("Name", "UUID"))
            found.append({"name": name, "uuid": uuid, "memory_mib": _memory(library, part)[0]})
    return found


def _memory(library: ctypes.CDLL, handle: Any) -> tuple[int | None, int | None]:
    """Return total and free memory in MiB."""
    memory = _Memory()
    if not _call(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory)):
        return None, None
    return memory.total >> 20, memory.free >> 20


def _capability(library: ctypes.CDLL, handle: Any) -> str | None:
    major, minor = ctypes.c_int(), ctypes.c_int()
    arguments = (handle, ctypes.byref(major), ctypes.byref(minor))
    done = _call(library, "nvmlDeviceGetCudaComputeCapability", *arguments)
    return f"{major.value}.{minor.value}" if done else None


def _watts(library: ctypes.CDLL, name: str, handle: Any) -> int | None:
    milliwatts = _number(library, name, handle)
    return None if milliwatts is None else milliwatts // 1000


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> bool:
    """Whether the library has this function and it succeeded."""
    function = getattr(library, name, None)
    return function is not None and function(*arguments) == 0


def _text(library: ctypes.CDLL, name: str, *handle: Any) -> str | None:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    done = _call(library, name, *handle, buffer, ctypes.c_uint(_TEXT_BYTES))
    return buffer.value.decode("utf-8", "replace") if done else None


def _number(library: ctypes.CDLL, name: str, *handle: Any, kind: Any = ctypes.c_uint) -> int | None:
    value = kind()
    return int(value.value) if _call(library, name, *handle, ctypes.byref(value)) else None


def _mode(library: ctypes.CDLL, name: str, handle: Any) -> bool | None:
    """Read the current of a current and a pending mode."""
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    done = _call(library, name, handle, ctypes.byref(current), ctypes.byref(pending))
    return _flag(int(current.value)) if done else None


def _indexed(library: ctypes.CDLL, name: str, handle: Any, which: int) -> int | None:
    """Read one of several sensors or clocks."""
    value = ctypes.c_uint()
    done = _call(library, name, handle, ctypes.c_uint(which), ctypes.byref(value))
    return int(value.value) if done else None


def _flag(value: int | None) -> bool | None:
    return None if value is None else value != 0


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or _LIBRARIES)
