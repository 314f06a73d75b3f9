"""docs/facts.md has one line for every fact of every section, and none too many."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envcheck.facts import registry
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.section import Facts

DOCUMENT = Path(__file__).parents[2] / "docs" / "facts.md"
HOSTS = Path(__file__).parents[1] / "hosts"
ROW = re.compile(r"\| `([^`]+)` \| (shared|device|reading) \| (.+?) \|")
CLASSES = {"shared": "shared", "device": "device", "readings": "reading"}
SECTIONS = [name for name, _ in registry.SECTIONS]
# The types of a section's facts are called by its name; what differs, and what is put in as plain data.
TYPES = {"packages": {"shared": ("*", "Package"), "device": ("", "PackagePlaces")},
         "python": {"device": ("", "PythonPlaces")}}  # fmt: skip
NAMES = {"cuda": "Cuda", "onnxruntime": "Onnxruntime", "variables": "Variable"}
PLAIN = {("packages", "device"): {"verified": ("envcheck.facts.verification", "Verified")}}


def documented() -> dict[str, dict[str, str]]:
    """Section -> path -> class, as the document has them."""
    found: dict[str, dict[str, str]] = {}
    for part in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        name = part.splitlines()[0].strip()
        rows = [match.groups() for line in part.splitlines() if (match := ROW.match(line))]
        assert len({(path, kind) for path, kind, _ in rows}) == len(rows), f"{name}: a line occurs twice"
        found[name] = {f"{kind} {path}": text for path, kind, text in rows}
    return found


def declared(section: str) -> set[str]:
    """Every path that the types of a section declare, with its class."""
    module = sys.modules[dict(registry.SECTIONS)[section].__module__]
    paths: set[str] = set()
    for kind, suffix in (("shared", "Facts"), ("device", "Device"), ("readings", "Readings")):
        default = ("", NAMES.get(section, section.capitalize()) + suffix)
        prefix, name = TYPES.get(section, {}).get(kind, default)
        top = getattr(module, name, None)
        if top is not None:
            plain = PLAIN.get((section, kind), {})
            paths |= {f"{CLASSES[kind]} {path}" for path in of_type(top, prefix, plain)}
    return paths


def of_type(kind: Any, path: str, plain: dict[str, tuple[str, str]] | None = None) -> Iterator[str]:
    """Yield the paths below a type: fields of a Struct, `*` for the keys of a mapping, `[]` for elements."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        for field in msgspec.structs.fields(kind):
            inner = f"{path}.{field.name}".lstrip(".")
            named = (plain or {}).get(field.name)
            if named:
                __import__(named[0])
                yield from of_type(getattr(sys.modules[named[0]], named[1]), inner)
            else:
                yield from of_type(hints[field.name], inner)
    elif origin in (types.UnionType, typing.Union):
        for argument in arguments:
            if argument is not type(None):
                yield from of_type(argument, path)
    elif origin is list:
        inner = arguments[0]
        nested = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
        yield from of_type(inner, f"{path}[]") if nested else [path]
    elif origin is dict:
        yield from of_type(arguments[1], f"{path}.*".lstrip("."))
    else:
        yield path


def found_in(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the facts in plain data."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from found_in(inner, f"{path}\0{key}".lstrip("\0"))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from found_in(inner, f"{path}[]")
    else:
        yield path


def captures() -> Iterator[Any]:
    yield capture(Target(), verify=False)
    yield capture(Target(environ={"OMP_NUM_THREADS": "1"}))
    for root in sorted(HOSTS.glob("*/root")):
        yield capture(Target(""), host=Host(root=root, environ={}))


def test_every_section_has_its_chapter() -> None:
    assert [name for name in documented() if name in SECTIONS] == SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_every_declared_fact_has_its_line_and_no_line_is_stale(section: str) -> None:
    assert set(documented()[section]) == declared(section)


def test_every_captured_fact_has_its_line() -> None:
    patterns = {
        section: [re.compile(_pattern(row)) for row in rows]
        for section, rows in documented().items()
        if section in SECTIONS
    }
    missing = {
        f"{name}: {CLASSES[kind]} {path}"
        for fingerprint in captures()
        for name, section in fingerprint.sections.items()
        for kind in CLASSES
        for path in found_in(getattr(section, kind))
        if not any(pattern.fullmatch(f"{CLASSES[kind]} {path}") for pattern in patterns[name])
    }
    assert missing == set()


def _pattern(row: str) -> str:
    """Return the expression of a line's path; keys of mappings may hold dots."""
    kind, _, path = row.partition(" ")
    parts = ["[^\0]+" if part == "*" else re.escape(part) for part in path.split(".")]
    return f"{kind} " + "\0".join(parts)


def test_the_types_are_looked_at() -> None:
    """The tests above can fail: they see nested types, lists, mappings and optional ones."""

    class Inner(Facts, frozen=True, kw_only=True):
        word: str = ""

    class Outer(Facts, frozen=True, kw_only=True):
        one: int | None = None
        many: list[str] = []
        inner: Inner | None = None

    Outer.__annotations__["inner"] = Inner
    assert set(of_type(Outer, "")) == {"one", "many", "inner.word"}
    assert list(found_in({"a": [{"b": 1}], "c": {"d": []}})) == ["a[]\0b", "c\0d"]
