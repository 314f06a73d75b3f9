"""Everything imports with the core dependencies alone, and the command line imports next to nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from typing import Any

import tomllib
from support.sources import ROOT, sources

ALWAYS_BLOCKED = {
    *("numpy", "onnxruntime", "torch", "onnx", "onnxscript", "sklearn", "litestar", "sqlalchemy", "uvicorn"),
    *("alembic", "psycopg", "prometheus_client", "jinja2", "hypothesis", "pytest", "_pytest"),
}

BLOCKER = """
import importlib, importlib.abc, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(json.loads(sys.argv[1]))
# What .pth files of the development tools have loaded at the start is none of ours.
BEFORE = set(sys.modules)
sys.meta_path.insert(0, Blocker())
failed = {}
for name in json.loads(sys.argv[2]):
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = f"{type(error).__name__}: {error}"
loaded = {name.partition(".")[0] for name in set(sys.modules) - BEFORE}
print(json.dumps({"failed": failed, "loaded": sorted(loaded)}))
"""


def closure(names: list[str]) -> set[str]:
    """The distributions that come with `names`, without any extra, as they are installed here."""
    found: set[str] = set()
    rest = list(names)
    while rest:
        name = re.split(r"[\s;\[<>=!~(]", rest.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            rest += [need for need in requires(name) or () if "extra ==" not in need]
        except PackageNotFoundError:
            continue
    return found


def foreign() -> set[str]:
    """Import names of all that is installed here but does not come with the core dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = closure(project["dependencies"])
    owners = packages_distributions()
    strangers = {
        name
        for name, distributions in owners.items()
        if not core & {one.lower().replace("_", "-") for one in distributions}
    }
    return (strangers | ALWAYS_BLOCKED) - {"envcheck", "envcheck_server"}


def run(*arguments: str) -> Any:
    found = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


AGENT = sorted(name for name in sources() if name.split(".")[0] == "envcheck")


def test_every_module_of_the_agent_imports_with_the_core_dependencies_alone() -> None:
    blocked = foreign()
    assert blocked >= ALWAYS_BLOCKED
    assert not {"click", "msgspec", "requests", "yaml", "rich", "cryptography", "psutil"} & blocked
    found = run(BLOCKER, json.dumps(sorted(blocked)), json.dumps(AGENT))
    assert found["failed"] == {}
    assert not blocked & set(found["loaded"])


def test_this_test_would_see_a_module_that_needs_more() -> None:
    found = run(BLOCKER, json.dumps(["json_absent", "msgspec"]), json.dumps(["envcheck.contract.document"]))
    assert found["failed"] == {"envcheck.contract.document": "ModuleNotFoundError: No module named 'msgspec'"}


LOADED = "import json, sys; import {0}; print(json.dumps(sorted(sys.modules)))"
HEAVY = {
    "requests",
    "urllib3",
    "yaml",
    "rich",
    "numpy",
    "cryptography",
    "msgspec",
    "psutil",
    "cpuinfo",
    "junitparser",
}


def test_the_command_line_itself_is_light() -> None:
    loaded = {name.partition(".")[0] for name in run(LOADED.format("envcheck.cli"))}
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_no_module_imports_a_heavy_library_at_once() -> None:
    found = run(BLOCKER, "[]", json.dumps(AGENT))
    assert found["failed"] == {}
    heavy = {"requests", "urllib3", "yaml", "rich", "numpy", "cryptography", "onnxruntime", "torch"}
    assert set(found["loaded"]) & heavy == set()


CAPTURE = """
import json, sys
from envcheck.cli import envcheck, run_cli
code = run_cli(envcheck, ["capture", "--json"])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def test_capture_imports_nothing_of_what_it_measures() -> None:
    found = subprocess.run([sys.executable, "-c", CAPTURE], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["sections"]["packages"]["status"] == "ok"
    code, loaded = json.loads(found.stderr)
    assert code == 0
    heavy = {"torch", "onnxruntime", "onnx", "numpy", "pip", "requests", "rich", "cryptography"}
    assert set(loaded) & heavy == set()
