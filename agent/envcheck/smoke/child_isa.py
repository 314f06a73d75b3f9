"""What the smoke child's process finds this CPU to have: as numpy sees it, and as the C library does.

Lies beside child.py and is loaded by it: standard library only, Python 3.8+. Nothing is started or executed
for it: both looked when they were loaded.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import Any, Dict, List

# The places of CPUID's leaves in glibc's table (sys/platform/x86.h), as envcheck.facts.cpuid has them.
GLIBC_INDEX = {"1": 0, "7": 1, "80000001": 2, "7.1": 6}
AT_HWCAP, AT_HWCAP2 = 16, 26


class Feature(ctypes.Structure):
    """One leaf in glibc's table: the registers as CPUID gave them, and what of them may be used."""

    _fields_ = (("cpuid", ctypes.c_uint32 * 4), ("active", ctypes.c_uint32 * 4))


def cpu_features() -> List[str]:
    """Return the instruction sets that numpy found on this CPU and may dispatch to."""
    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):  # numpy 2, numpy 1
        features = getattr(sys.modules.get(name), "__cpu_features__", {})
        if features:
            return sorted(feature for feature, present in features.items() if present)
    return []


def loader_features() -> Dict[str, Any]:
    """Return what the C library chooses its functions and directories by; {} where it tells nothing.

    On x86 glibc's registers without the bits that the kernel or GLIBC_TUNABLES forbid (2.33 and later);
    elsewhere the kernel's two words (AT_HWCAP, AT_HWCAP2).
    """
    with suppress(AttributeError, OSError, ValueError):
        library = ctypes.CDLL(None)
        if os.uname().machine in ("x86_64", "i686"):
            return {"leaves": glibc_leaves(library["__x86_get_cpuid_feature_leaf"])}
        ask = library["getauxval"]
        ask.restype, ask.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
        return {"hwcap": [ask(AT_HWCAP), ask(AT_HWCAP2)]}
    return {}


def glibc_leaves(ask: Any) -> Dict[str, List[int]]:
    """Return the registers (EAX, EBX, ECX, EDX) of what may be used, by leaf."""
    ask.restype, ask.argtypes = ctypes.POINTER(Feature), (ctypes.c_uint32,)
    found = {leaf: ask(index) for leaf, index in GLIBC_INDEX.items()}
    return {leaf: list(told.contents.active) for leaf, told in found.items() if told}
