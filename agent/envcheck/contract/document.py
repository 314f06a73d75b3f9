"""Documents: values with a `format` that names their kind and version, and errors that name the path.

A document of a newer minor version is read with a notice, a newer major version is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from envcheck.contract.canonical import canonical_json, digest
from envcheck.errors import BadInput

_FORMAT = re.compile(r"envcheck\.([a-z-]+)/(\d{1,4})\.(\d{1,4})")
_MAX_KEYS_TRIED = 2000

Notice = Callable[[str], None]


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a document. Fields that have their default are not written."""


class Document(Value, frozen=True, kw_only=True):
    """A value that stands alone on the wire or on disk."""

    FORMAT: ClassVar[str]


D = TypeVar("D", bound=Document)
T = TypeVar("T")


def encode(document: Document) -> bytes:
    """Return the canonical bytes of `document`, its `format` included."""
    return canonical_json({"format": document.FORMAT, **msgspec.to_builtins(document)})


def document_digest(document: Document) -> str:
    """Return the SHA-256 of the canonical bytes of `document`."""
    return digest(encode(document))


def decode(data: bytes, kind: type[D], source: str, notice: Notice | None = None) -> D:
    """Read a document of `kind`; `source` says in errors what was read (a file name, "the answer of URL").

    `notice` is called with a sentence when the document is of a newer minor version.
    Raises BadInput that names the field's path when the bytes are not such a document.
    """
    header = _decode_json(data, _Header, source)
    check_format(header.format, kind, source, notice)
    if kind.__struct_config__.forbid_unknown_fields:
        fields = dict(_plain(data))
        del fields["format"]
        return convert(fields, kind, source)
    return _decode_json(data, kind, source)


def decode_any(data: bytes, kinds: tuple[type[D], ...], source: str, notice: Notice | None = None) -> D:
    """Read a document that may be of any of `kinds`, chosen by its `format`."""
    found = _FORMAT.fullmatch(_decode_json(data, _Header, source).format)
    for kind in kinds:
        if found and _FORMAT.fullmatch(kind.FORMAT).group(1) == found.group(1):  # type: ignore[union-attr]
            return decode(data, kind, source, notice)
    wanted = " or ".join(kind.FORMAT for kind in kinds)
    raise BadInput(f"{source} is not a document that can be used here", f"wanted: {wanted}")


def convert(value: Any, kind: type[T], source: str) -> T:
    """Turn plain data (from YAML, say) into `kind`; raises BadInput with the path of what does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{source}: {_with_path(error, value, kind)}") from None


def check_format(found: str, kind: type[Document], source: str, notice: Notice | None = None) -> None:
    """Refuse another kind of document and a newer major version; give notice of a newer minor one."""
    match = _FORMAT.fullmatch(found)
    expected = _FORMAT.fullmatch(kind.FORMAT)
    if expected is None:
        raise ValueError(f"{kind.__name__}.FORMAT is malformed")
    if match is None:
        raise BadInput(f"{source}: `format` is {found[:80]!r}", f"wanted {kind.FORMAT!r}")
    if match.group(1) != expected.group(1):
        raise BadInput(f"{source} holds a {match.group(1)}, not a {expected.group(1)}")
    major, minor = int(match.group(2)), int(match.group(3))
    own_major, own_minor = int(expected.group(2)), int(expected.group(3))
    if major > own_major:
        raise BadInput(
            f"{source} is a {match.group(1)} of version {major}.{minor}; "
            f"this envcheck reads up to {own_major}.x",
            "upgrade envcheck here: pip install --upgrade envcheck",
        )
    if major < own_major:
        raise BadInput(f"{source} is a {match.group(1)} of the old version {major}.{minor}", "create it anew")
    if minor > own_minor and notice is not None:
        notice(
            f"{source} was written by a newer envcheck ({match.group(1)} {major}.{minor}); "
            "what this one does not know is ignored"
        )


class _Header(msgspec.Struct):
    format: str


def _decode_json(data: bytes, kind: type[T], source: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{source}: {_with_path(error, _plain(data), kind)}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"{source} is not valid JSON: {str(error)[:200]}") from None


def _plain(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _with_path(error: msgspec.ValidationError, value: Any, kind: type[Any]) -> str:
    """Turn msgspec's "... - at `$.a[...].b`" into "a.key.b: ...", the key found by trying."""
    message, found, where = str(error).rpartition(" - at `$")
    if not found:
        return f"{str(error)[:300]}"
    path = where.rstrip("`")
    while "[...]" in path and value is not None:
        head = path[: path.index("[...]")]
        key = _culprit(value, head, kind, str(error))
        if key is None:
            break
        path = path.replace("[...]", f".{key}", 1)
        value = _only(value, head, key)
    return f"{path.lstrip('.')[:300]}: {message[:300]}"


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
        steps.append(name if name else int(index))
    return steps


def _at(value: Any, path: str) -> Any:
    for step in _steps(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _only(value: Any, path: str, key: str) -> Any:
    """Copy `value` with the mapping at `path` reduced to `key`."""

    def reduce(node: Any, steps: list[str | int]) -> Any:
        if not steps:
            return {key: node[key]}
        step = steps[0]
        if isinstance(node, dict):
            return {**node, step: reduce(node[step], steps[1:])}
        return [*node[:step], reduce(node[step], steps[1:]), *node[int(step) + 1 :]]

    return reduce(value, _steps(path))


def _culprit(value: Any, path: str, kind: type[Any], message: str) -> str | None:
    mapping = _at(value, path)
    if not isinstance(mapping, dict) or len(mapping) > _MAX_KEYS_TRIED:
        return None
    for key in mapping:
        try:
            msgspec.convert(_only(value, path, key), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    return None
