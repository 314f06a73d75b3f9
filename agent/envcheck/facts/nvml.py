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
_TEXT_BYTES = 96
_MAX_GPUS = 64
_NO_PERMISSION = 4
_CELSIUS_SENSOR = 0


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def main(names: tuple[str, ...] = _LIBRARIES) -> None:
    """Print what the library tells, or {"error": ...}."""
    library = _load(names)
    told: dict[str, Any] = {"error": "no library"} if library is None else describe(library)
    os.write(1, json.dumps(told).encode("ascii"))


def describe(library: ctypes.CDLL) -> dict[str, Any]:
    """Return driver, CUDA version and every GPU."""
    code = library.nvmlInit_v2()
    if code:
        return {"error": "no permission" if code == _NO_PERMISSION else f"NVML code {code}"}
    count = _number(library, "nvmlDeviceGetCount_v2") or 0
    cuda = _number(library, "nvmlSystemGetCudaDriverVersion_v2", kind=ctypes.c_int)
    gpus = [_gpu(library, index) for index in range(min(count, _MAX_GPUS))]
    return {
        "driver": _text(library, "nvmlSystemGetDriverVersion"),
        "cuda": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        "count": count,
        "gpus": [gpu for gpu in gpus if gpu is not None],
    }


def _load(names: tuple[str, ...]) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _gpu(library: ctypes.CDLL, index: int) -> dict[str, Any] | None:
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        return None
    memory = _Memory()
    has_memory = _call(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    major, minor = ctypes.c_int(), ctypes.c_int()
    capable = _call(
        library, "nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor)
    )
    limit = _number(library, "nvmlDeviceGetPowerManagementLimit", handle)
    return {
        "name": _text(library, "nvmlDeviceGetName", handle),
        "uuid": _text(library, "nvmlDeviceGetUUID", handle),
        "serial": _text(library, "nvmlDeviceGetSerial", handle),
        "capability": f"{major.value}.{minor.value}" if capable else None,
        "memory_mib": memory.total >> 20 if has_memory else None,
        "memory_free_mib": memory.free >> 20 if has_memory else None,
        "ecc": _mode(library, "nvmlDeviceGetEccMode", handle),
        "mig": _mode(library, "nvmlDeviceGetMigMode", handle),
        "persistence": _flag(_number(library, "nvmlDeviceGetPersistenceMode", handle)),
        "power_limit_w": None if limit is None else limit // 1000,
        "celsius": _temperature(library, handle),
    }


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


def _temperature(library: ctypes.CDLL, handle: Any) -> int | None:
    value = ctypes.c_uint()
    arguments = (handle, ctypes.c_uint(_CELSIUS_SENSOR), ctypes.byref(value))
    return int(value.value) if _call(library, "nvmlDeviceGetTemperature", *arguments) else None


def _flag(value: int | None) -> bool | None:
    return None if value is None else value != 0


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or _LIBRARIES)
