"""Sizes and small promises of the sources."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sources import ROOT, Source, sources

MAX_LINES = 400
MAX_FUNCTION = 60

every_source = pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)


@every_source
def test_files_are_short(source: Source) -> None:
    assert source.text.count("\n") <= MAX_LINES


@every_source
def test_functions_are_short(source: Source) -> None:
    lengths = {
        f"{source.name}.{node.name}": lines_of(node) - docstring_lines(node)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION} == {}


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A docstring is no code: a command's is its whole help, with examples."""
    return lines_of(node.body[0]) if ast.get_docstring(node) is not None else 0


@every_source
def test_modules_say_what_they_are_and_put_types_off(source: Source) -> None:
    assert ast.get_docstring(source.tree), f"{source.name} has no docstring"
    runs_elsewhere = source.name.startswith(("envcheck.smoke.child", "envcheck.facts.probe"))
    typed = any(isinstance(node, ast.FunctionDef | ast.AnnAssign) for node in ast.walk(source.tree))
    assert runs_elsewhere or not typed or "from __future__ import annotations" in source.text


def written() -> list[Path]:
    """Every Python and shell file of the project."""
    found = [
        path
        for folder in ("agent", "server", "scripts", "tests", "deploy")
        for path in (ROOT / folder).rglob("*")
    ]
    return [path for path in found if path.suffix in (".py", ".sh") and "__pycache__" not in path.parts]


def comments(path: Path) -> Iterator[str]:
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.COMMENT:
                yield token.string
    else:
        yield from re.findall(r"(?:^|\s)#.*", path.read_text(encoding="utf-8"))


def test_nothing_is_left_to_do() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [path for path in written() for text in comments(path) if unfinished.search(text)] == []


def test_no_function_is_a_stub() -> None:
    stubs = [
        f"{source.name}.{node.name}"
        for source in sources().values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Raise) and "NotImplementedError" in ast.unparse(statement)
    ]
    assert stubs == []


def marks(path: Path) -> Iterator[ast.expr]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from node.decorator_list
        elif isinstance(node, ast.Assign | ast.Call):
            yield node.value if isinstance(node, ast.Assign) else node


def test_every_skip_has_a_reason() -> None:
    bare = [
        f"{path.relative_to(ROOT)}: {ast.unparse(mark)[:80]}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for mark in marks(path)
        if re.match(r"pytest\.mark\.(skip|skipif|xfail)\b", ast.unparse(mark))
        and "reason=" not in ast.unparse(mark)
    ]
    assert bare == []


def test_public_things_are_documented() -> None:
    bare = [
        f"{source.name}.{node.name}"
        for source in sources().values()
        for node in source.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
        and "versions" not in source.name
    ]
    assert bare == []
