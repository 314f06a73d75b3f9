"""Say where in a document a value does not fit its type, every mapping's key by its real name.

msgspec writes `$.sections[...].status` and leaves out which of the keys it was. Each level of the value
is looked through once, so a hostile document costs no more than it weighs.
"""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

import msgspec

from envcheck.contract.canonical import join_path

_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]|\[(\.\.\.)\]")
_MAX_MESSAGE = 300


def explain(error: msgspec.ValidationError, value: Any, kind: Any) -> str:
    """Turn msgspec's "... - at `$.a[...].b`" into "a.key.b: ..."; `value` is what did not fit `kind`."""
    steps, message = _trace(error, value, kind)
    path = join_path(steps)[:_MAX_MESSAGE]
    message = message[:_MAX_MESSAGE]
    return f"{path}: {message}" if path else message


def _trace(error: msgspec.ValidationError, value: Any, kind: Any) -> tuple[list[str | int], str]:
    message, found, where = str(error).rpartition(" - at `$")
    if not found:
        return [], str(error)
    path: list[str | int] = []
    for name, index, any_key in _STEP.findall(where):
        if any_key:
            key, steps, message = _culprit(value, _member(kind, ""), message)
            return [*path, key, *steps], message
        step: str | int = name or int(index)
        value, kind = _item(value, step), _member(kind, step)
        path.append(step)
    return path, message


def _culprit(value: Any, kind: Any, message: str) -> tuple[str, list[str | int], str]:
    """Find the first key whose value does not fit; "*" when none is found (a key that occurs twice)."""
    for key, item in value.items() if isinstance(value, dict) else ():
        try:
            msgspec.convert(item, kind)
        except msgspec.ValidationError as error:
            return (str(key), *_trace(error, item, kind))
    return "*", [], message


def _item(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def _member(kind: Any, step: str | int) -> Any:
    """The type of what `step` leads to from a value of `kind`; Any where that can't be told."""
    for option in _options(kind):
        arguments = get_args(option)
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return next((f.type for f in msgspec.structs.fields(option) if f.encode_name == step), Any)
        if get_origin(option) is dict and isinstance(step, str):
            return arguments[1]
        if get_origin(option) in (list, tuple) and isinstance(step, int):
            return arguments[0]
    return Any


def _options(kind: Any) -> tuple[Any, ...]:
    """A type taken apart: the members of a union, without annotations."""
    arguments = get_args(kind)
    if any(isinstance(argument, msgspec.Meta) for argument in arguments):
        return _options(arguments[0])
    if get_origin(kind) in (dict, list, tuple) or not arguments:
        return (kind,)
    return tuple(option for argument in arguments for option in _options(argument))
