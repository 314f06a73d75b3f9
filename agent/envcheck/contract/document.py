"""Documents: values with a `format` that names their kind and version, and errors that name the path.

A document of a newer minor version is read with a notice, a newer major version is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from envcheck.contract.canonical import MAX_DEPTH, Unwritable, digest, plain, write
from envcheck.contract.mismatch import explain
from envcheck.errors import BadInput

_FORMAT = re.compile(r"envcheck\.([a-z-]+)/([0-9]{1,4})\.([0-9]{1,4})")
_MANY_DIGITS = re.compile(rb"[0-9]{19}")

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
    return write({"format": document.FORMAT, **plain(document)})


def encode_answer(document: Document) -> bytes:
    """Return ASCII that `decode` reads, but not the canonical bytes: for what no digest names."""
    fields = msgspec.json.encode(document)[1:]
    if not fields.isascii():
        return encode(document)
    return b'{"format":"%s"%s%s' % (document.FORMAT.encode(), b"" if fields == b"}" else b",", fields)


def document_digest(document: Document) -> str:
    """Return the SHA-256 of the canonical bytes of `document`."""
    return digest(encode(document))


def decode(data: bytes, kind: type[D], source: str, notice: Notice | None = None) -> D:
    """Read a document of `kind`; `source` says in errors what was read (a file name, "the answer of URL").

    `notice` is called with a sentence when the document is of a newer minor version. What could not be
    written again (integers beyond 64 bits, nesting beyond MAX_DEPTH) is refused here.
    Raises BadInput that names the field's path when the bytes are not such a document.
    """
    check_format(_header(data, source), kind, source, notice)
    if kind.__struct_config__.forbid_unknown_fields:
        fields = dict(_decode_json(data, dict[str, Any], source))
        del fields["format"]
        return convert(fields, kind, source)
    document = _decode_json(data, kind, source)
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH or _MANY_DIGITS.search(data):
        _require_writable(document, source)
    return document


def decode_any(data: bytes, kinds: tuple[type[D], ...], source: str, notice: Notice | None = None) -> D:
    """Read a document that may be of any of `kinds`, chosen by its `format`."""
    found = _header(data, source)
    for kind in kinds:
        if found.rpartition("/")[0] == kind.FORMAT.rpartition("/")[0]:
            return decode(data, kind, source, notice)
    wanted = " or ".join(kind.FORMAT for kind in kinds)
    raise BadInput(f"{source} is of the kind {found[:80]!r}, which can't be used here", f"wanted: {wanted}")


def convert(value: Any, kind: type[T], source: str) -> T:
    """Turn plain data (from YAML, say) into `kind`; raises BadInput with the path of what does not fit.

    What JSON could not hold (NaN, dates, keys that are not text) is refused wherever it stands.
    """
    _require_writable(value, source)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{source}: {explain(error, value, kind)}") from None


def check_format(found: str, kind: type[Document], source: str, notice: Notice | None = None) -> None:
    """Refuse another kind of document and a newer major version; give notice of a newer minor one."""
    match = _FORMAT.fullmatch(found)
    expected = _FORMAT.fullmatch(kind.FORMAT)
    if expected is None:
        raise ValueError(f"{kind.__name__}.FORMAT is malformed")
    if match is None:
        raise BadInput(f"{source}: `format` is {found[:80]!r}", f"wanted {kind.FORMAT!r}")
    name, wanted = match.group(1)[:80], expected.group(1)
    if name != wanted:
        raise BadInput(f"{source} holds {_a(name)}, not {_a(wanted)}")
    major, minor = int(match.group(2)), int(match.group(3))
    own_major, own_minor = int(expected.group(2)), int(expected.group(3))
    if major > own_major:
        raise BadInput(
            f"{source} holds {_a(name)} of version {major}.{minor}; this envcheck reads up to {own_major}.x",
            "upgrade envcheck here: pip install --upgrade envcheck",
        )
    if major < own_major:
        raise BadInput(f"{source} holds {_a(name)} of the old version {major}.{minor}", "create it anew")
    if minor > own_minor and notice is not None:
        strict = kind.__struct_config__.forbid_unknown_fields
        notice(
            f"{source} was written for a newer envcheck ({name} {major}.{minor}); "
            f"what this one does not know is {'refused' if strict else 'ignored'}"
        )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


class _Header(msgspec.Struct):
    format: str


def _header(data: bytes, source: str) -> str:
    # Fields that a type does not know are skipped without a look at their text: so look here, once.
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{source} is not valid JSON: byte {error.start} is not UTF-8") from None
    return _decode_json(data, _Header, source).format


def _decode_json(data: bytes, kind: type[T], source: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{source}: {explain(error, _untyped(data), kind)}") from None
    except RecursionError:
        raise BadInput(f"{source} is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{source} is not valid JSON: {str(error)[:200]}") from None


def _untyped(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _require_writable(value: Any, source: str) -> None:
    try:
        plain(value)
    except Unwritable as error:
        raise BadInput(f"{source}: {error}") from None
