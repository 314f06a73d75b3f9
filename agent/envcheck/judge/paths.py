"""Dotted paths into facts and evidence: `packages.*.version`, `evidence.outputs.*`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class Missing:
    """Nothing is there. Not the same as None, which may be a fact."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


def split(path: str) -> tuple[str, ...]:
    """Split a path at its dots. Names with dots of their own can't be addressed, only met by `*`."""
    return tuple(path.split("."))


def matches(pattern: str, path: tuple[str, ...]) -> bool:
    """Tell whether `pattern` means `path` or something above it."""
    wanted = split(pattern)
    return len(wanted) <= len(path) and all(
        want in ("*", have) for want, have in zip(wanted, path, strict=False)
    )


# Facts that built-in policies judge, in words; others are told by their paths.
_WORDS = {
    "python.version": "Python",
    "python.implementation": "the Python implementation",
    "python.machine": "the Python build's architecture",
    "python.libc.name": "the C library",
    "system.machine": "the architecture",
    "system.kernel": "the kernel",
    "system.libc.version": "the C library's version",
    "system.os.version_id": "the operating system's version",
    "cpu.isa": "the CPU",
    "cpu.model": "the CPU",
    "memory.total_mib": "memory in MiB",
    "cuda.driver": "the NVIDIA driver",
    "cuda.driver_cuda": "the driver's CUDA",
    "onnxruntime.version": "onnxruntime",
}


def fact_name(path: tuple[str, ...]) -> str:
    """Write a concrete path for people: a known fact in words, a package by its name."""
    if words := _WORDS.get(".".join(path)):
        return words
    section, *rest = path
    if section == "packages" and rest:
        return rest[0] if rest[1:] in ([], ["version"]) else f"{rest[0]} ({'.'.join(rest[1:])})"
    return ".".join(path)


def get(node: Any, steps: tuple[str, ...]) -> Any:
    """Return what stands at `steps` below `node` (mappings and Structs), MISSING when nothing does."""
    for step in steps:
        if isinstance(node, dict):
            node = node.get(step, MISSING)
        elif isinstance(node, msgspec.Struct) and step in node.__struct_fields__:
            node = getattr(node, step)
        else:
            return MISSING
    return node


def expand(node: Any, steps: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield every concrete path below `node` that `steps` mean, in sorted order.

    A step without `*` is followed whether or not it is there: that it is missing may be the finding.
    """
    if "*" not in steps:
        yield steps
        return
    at = steps.index("*")
    parent = get(node, steps[:at])
    for name in sorted(parent) if isinstance(parent, dict) else ():
        for rest in expand(parent[name], steps[at + 1 :]):
            yield (*steps[:at], name, *rest)
