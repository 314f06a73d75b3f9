"""The project's sources, parsed once: modules by name, and what each of them imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {"envcheck": ROOT / "agent", "envcheck_server": ROOT / "server"}


@dataclass(frozen=True)
class Source:
    """One module: `name` is dotted, `package` tells whether it is an __init__.py."""

    name: str
    path: Path
    text: str
    package: bool

    @property
    def tree(self) -> ast.Module:
        return _parse(self.path)


@dataclass(frozen=True)
class Import:
    """`module` as it is written, submodules resolved; `late` when it stands inside a function."""

    module: str
    line: int
    late: bool
    types_only: bool


@cache
def sources() -> dict[str, Source]:
    """All modules of agent and server by name."""
    return {source.name: source for package, root in ROOTS.items() for source in _walk(package, root)}


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _walk(package: str, root: Path) -> Iterator[Source]:
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield Source(name, path, path.read_text(encoding="utf-8"), is_package)


def imports(source: Source) -> list[Import]:
    """Every import of a module, wherever it stands."""
    return list(_imports(source.tree, source, late=False, types_only=False))


def _imports(node: ast.AST, source: Source, *, late: bool, types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, late, types_only)
        elif isinstance(child, ast.ImportFrom):
            for module in _from(child, source):
                yield Import(module, child.lineno, late, types_only)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typed = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            yield from _imports(child, source, late=late or inside, types_only=types_only or typed)


def _from(node: ast.ImportFrom, source: Source) -> list[str]:
    base = node.module or ""
    if node.level:
        parts = source.name.split(".")
        outer = parts[: len(parts) - node.level + (1 if source.package else 0)]
        base = ".".join([*outer, base] if base else outer)
    if base.split(".")[0] not in ROOTS:
        return [base]
    # `from envcheck.facts import probe` imports a module, `from envcheck import __version__` does not.
    known = sources()
    return sorted({f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names})
