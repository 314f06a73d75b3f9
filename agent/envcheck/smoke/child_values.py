"""What goes into the smoke child's model and what comes out: slices, sequences and maps as plain tensors.

Lies beside child.py and is loaded by it: standard library only (numpy is handed in), Python 3.8+.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List

MAX_PARTS = 256
# What Python can be handed: tensors whose elements numpy knows, and sequences and maps of them.
ELEMENTS = {"float": "float32", "double": "float64", "string": "str"}
ELEMENTS.update((name, name) for name in ("float16", "bool", "complex64", "complex128"))
ELEMENTS.update((f"{sign}int{bits}", f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))
TENSOR = re.compile(r"tensor\((\w+)\)")
CONTAINER = re.compile(r"(?:seq|map|optional)\((?:\w+,)?(.*)\)")


class Unusable(Exception):
    """The model or the inputs ask for something that this child does not do; the text says what."""


def readable_outputs(session: Any) -> Dict[str, str]:
    """Return the outputs' names with the element type of each; raises Unusable for one numpy can't hold."""
    found = {}
    for output in session.get_outputs():
        inner = output.type
        while CONTAINER.fullmatch(inner):
            inner = CONTAINER.sub(r"\1", inner)
        tensor = TENSOR.fullmatch(inner)
        if tensor is None or tensor.group(1) not in ELEMENTS:
            raise Unusable(f"the output {output.name!r} is a {output.type}, which can't be compared")
        found[output.name] = ELEMENTS[tensor.group(1)]
    return found


def slices(feed: Dict[str, Any], count: int, sliced: List[str]) -> List[Dict[str, Any]]:
    """Cut the inputs named in `sliced` into `count` equal parts along their first axis."""
    if count == 1:
        return [feed]
    parts = []
    for number in range(count):
        part = dict(feed)
        for name in sliced:
            step = len(feed[name]) // count
            part[name] = feed[name][number * step : (number + 1) * step]
        parts.append(part)
    return parts


def one_by_one(feed: Dict[str, Any], count: int, rows: List[str]) -> List[Dict[str, Any]]:
    """Return the first `count` samples, each for itself; `rows` are the inputs that hold them."""
    return [{**feed, **{name: feed[name][at : at + 1] for name in rows}} for at in range(count)]


def flatten(np: Any, names: Dict[str, str], parts: List[List[Any]]) -> Dict[str, Any]:
    """Return the outputs of one run as arrays by name, those of slices joined along their first axis.

    A sequence becomes `name[0]`, `name[1]` ...; a map its values in the order of its keys, which stand beside
    it as `name.keys`. A sequence of maps with equal keys, as classifiers give it, is one table.
    """
    found: Dict[str, Any] = {}
    for number, (name, kind) in enumerate(names.items()):
        value = join(np, name, [part[number] for part in parts])
        add(np, found, name, value, kind)
        if len(found) > MAX_PARTS + len(names):
            raise Unusable(f"the output {name!r} holds more than {MAX_PARTS} parts, which are not compared")
    return found


def join(np: Any, name: str, values: List[Any]) -> Any:
    """Put the values that slices gave for one output together."""
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    if any(isinstance(value, (list, dict)) or value is None for value in values):
        raise Unusable(f"the output {name!r} is no tensor, and can't be joined from several batches")
    return np.concatenate([np.atleast_1d(np.asarray(value)) for value in values])


def add(np: Any, found: Dict[str, Any], name: str, value: Any, kind: str) -> None:
    """Add an output's arrays to `found`; a value that is nothing (of an optional type) adds none."""
    if isinstance(value, dict):
        add_maps(np, found, name, [value], kind, single=True)
    elif isinstance(value, list):
        maps = bool(value) and all(isinstance(item, dict) for item in value)
        if maps and all(sorted(item) == sorted(value[0]) for item in value):
            add_maps(np, found, name, value, kind, single=False)
            return
        if not value:
            found[name] = np.zeros(0, kind)
        for number, item in enumerate(value):
            add(np, found, f"{name}[{number}]", item, kind)
            if number > MAX_PARTS:
                return
    elif value is not None:
        # What comes out of a map or a sequence of numbers is Python's own, wider than the model's.
        found[name] = value if hasattr(value, "dtype") else np.asarray(value, kind)


def add_maps(np: Any, found: Dict[str, Any], name: str, maps: List[Any], kind: str, single: bool) -> None:
    """Add maps of equal keys as one table with a row for each, or the values of a single one."""
    keys = sorted(maps[0])
    if any(getattr(value, "ndim", 0) for one in maps for value in one.values()):
        for number, one in enumerate(maps):
            for key in keys:
                add(np, found, f"{name}[{key}]" if single else f"{name}[{number}][{key}]", one[key], kind)
    else:
        table = np.asarray([[one[key] for key in keys] for one in maps], kind)
        table = table.reshape(len(maps), len(keys))
        found[name] = table[0] if single else table
    found[name + ".keys"] = np.asarray(keys, "str" if any(isinstance(key, str) for key in keys) else "int64")


def same(one: Any, other: Any) -> bool:
    """Tell whether two arrays are equal bit by bit, NaN included."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return bool(one.tobytes() == other.tobytes())
