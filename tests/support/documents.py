"""Every kind of document of the contract, found by walking it, and a hypothesis strategy for each."""

from __future__ import annotations

import pkgutil
import types
from importlib import import_module
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from envcheck import contract
from envcheck.contract.document import Document

NAMES = st.text(min_size=1, max_size=8)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | st.text(max_size=12)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def document_kinds() -> list[type[Document]]:
    """All subclasses of Document under envcheck.contract that name a format, by their format."""
    for module in pkgutil.iter_modules(contract.__path__):
        import_module(f"{contract.__name__}.{module.name}")
    found: list[type[Document]] = []
    rest: list[type[Document]] = [Document]
    while rest:
        for kind in rest.pop().__subclasses__():
            rest.append(kind)
            if kind.__module__.startswith(f"{contract.__name__}."):
                found.append(kind)
    return sorted(found, key=lambda kind: kind.FORMAT)


def documents(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Documents of `kind`, each field as its type says, optional ones sometimes left out."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(kind):
        (required if field.required else optional)[field.name] = values(field.type)
    fields = st.fixed_dictionaries(required, optional=optional)
    return fields.map(lambda chosen: kind(**chosen))


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of one type of the contract; a whole number sometimes stands where a float is wanted."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return JSON
    if origin is Annotated:
        return _bounded(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([values(argument) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return documents(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=12),
        bool: st.booleans(),
        int: INTEGERS,
        float: FLOATS | st.integers(-1000, 1000),
        type(None): st.none(),
    }
    return plain[hint]


def _bounded(arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    kind, meta = arguments
    low, high = meta.ge if meta.ge is not None else meta.gt, meta.le
    if kind is int:
        return st.integers(low, high)
    return st.floats(low, high, exclude_min=meta.gt is not None, allow_nan=False)
