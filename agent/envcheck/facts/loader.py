"""The libraries that the dynamic loader would find, from ldconfig's cache. Pure."""

from __future__ import annotations

import re
import struct

# The ones that CUDA's execution providers load.
_WANTED = re.compile(
    rb"lib(?:cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|cusolver|nvinfer|nvonnxparser|nvrtc|nvidia-ml)\.so[.\d]*"
)
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("=20s2I20x")
_ENTRY = struct.Struct("=iIIIQ")
_MAX_ENTRIES = 100_000


def parse_ld_cache(data: bytes) -> list[str]:
    """Return the sorted names of CUDA's libraries in ld.so.cache; what is malformed is left out."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) - start < _HEADER.size or _WANTED.search(data) is None:
        return []
    table = data[start:]
    _, count, _ = _HEADER.unpack_from(table)
    room = (len(table) - _HEADER.size) // _ENTRY.size
    found = set()
    for index in range(min(count, room, _MAX_ENTRIES)):
        _, key, _, _, _ = _ENTRY.unpack_from(table, _HEADER.size + index * _ENTRY.size)
        name = table[key : key + 64].partition(b"\0")[0]
        if _WANTED.fullmatch(name):
            found.add(name.decode("ascii"))
    return sorted(found)
