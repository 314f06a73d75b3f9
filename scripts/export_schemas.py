#!/usr/bin/env python3
"""Write schemas/ anew from the types of envcheck.contract; with --check, exit 1 when that would change it."""

from __future__ import annotations

import argparse
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from envcheck import contract
from envcheck.commands.configuration import Configuration
from envcheck.contract.document import Document
from envcheck.contract.policy import Policy

DIRECTORY = Path(__file__).resolve().parent.parent / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

README = """# JSON Schemas

Every document that envcheck writes to disk or sends, and the two files that people write. Generated from the
types in `agent/envcheck/contract` by `scripts/export_schemas.py`: do not edit them. They are for readers in
other languages, editors and tests; envcheck itself never reads them.

The number in a name is the major version of the format. Fields that a schema does not know come from a newer
minor version and are to be ignored, except where the schema forbids them.

| schema | what it describes |
|---|---|
"""


def kinds() -> list[type[Document]]:
    """Every document of the contract, found by walking it, in the order of their formats."""
    for module in pkgutil.iter_modules(contract.__path__):
        import_module(f"{contract.__name__}.{module.name}")
    found = [kind for kind in descendants(Document) if kind.__module__.startswith(f"{contract.__name__}.")]
    return sorted(found, key=lambda kind: kind.FORMAT)


def descendants(kind: type[Document]) -> Iterator[type[Document]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def document_schema(kind: type[Document]) -> tuple[str, dict[str, Any]]:
    """The file's name and the schema of one kind of document, its `format` included."""
    name, _, version = kind.FORMAT.removeprefix("envcheck.").partition("/")
    major = version.partition(".")[0]
    schema = file_schema(kind)
    pattern = rf"^envcheck\.{name}/{major}\.[0-9]+$"
    schema["properties"] = {"format": {"type": "string", "pattern": pattern}, **schema["properties"]}
    schema["required"] = ["format", *schema["required"]]
    return f"{name}-{major}.json", schema


def file_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a Struct, its own fields at the top and the types it uses under $defs."""
    schema = msgspec.json.schema(kind)
    definitions = schema["$defs"]
    root = definitions.pop(kind.__name__)
    for part in (root, *definitions.values()):
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    return {"$schema": DRAFT, **root, **({"$defs": definitions} if definitions else {})}


def policy_file_schema() -> dict[str, Any]:
    """A policy as people write it: `format` may be left out."""
    schema = document_schema(Policy)[1]
    schema["required"].remove("format")
    return {**schema, "title": "Policy file", "description": f"A policy in YAML. {schema['description']}"}


def export() -> dict[str, str]:
    """All files of schemas/: name -> text."""
    schemas = dict(document_schema(kind) for kind in kinds())
    schemas["policy-file-1.json"] = policy_file_schema()
    schemas["configuration-1.json"] = file_schema(Configuration)
    files = {name: json.dumps(schema, indent=2) + "\n" for name, schema in sorted(schemas.items())}
    rows = [f"| [{name}]({name}) | {summary(schema)} |\n" for name, schema in sorted(schemas.items())]
    return {**files, "README.md": README + "".join(rows)}


def summary(schema: dict[str, Any]) -> str:
    return " ".join(str(schema["description"]).split("\n\n")[0].split())


def stale(files: dict[str, str], directory: Path) -> list[str]:
    """Names that are missing, differ, or are there without being generated."""
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*") if path.is_file()}
    return sorted(name for name in {*files, *there} if files.get(name) != there.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, tell what would change")
    check = parser.parse_args().check
    files = export()
    names = stale(files, DIRECTORY)
    for name in names:
        if check:
            print(f"{DIRECTORY.name}/{name} is not current: run scripts/export_schemas.py", file=sys.stderr)
        elif name in files:
            DIRECTORY.mkdir(exist_ok=True)
            (DIRECTORY / name).write_text(files[name], encoding="utf-8")
        else:
            (DIRECTORY / name).unlink()
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main())
