"""Imports point one way: errors <- contract <- the six middle packages <- commands <- cli."""

from __future__ import annotations

import ast
import sys

import pytest
import tomllib
from support.sources import ROOT, Source, imports, sources

MIDDLE = {"facts", "smoke", "baseline", "judge", "transport", "output"}

# Which parts of `envcheck` each part may import beside itself; an entry with a dot is that one module.
# `__version__`, from the package itself, is open to all.
AGENT = {
    "": set(),
    "errors": set(),
    "contract": {"errors"},
    "facts": {"errors", "contract"},
    # The machine is a parameter: whoever starts a process of the target interpreter needs it.
    "smoke": {"errors", "contract", "facts.host"},
    # Creating a baseline is running the model on the training machine.
    "baseline": {"errors", "contract", "facts.host", "smoke"},
    "judge": {"errors", "contract"},
    "transport": {"errors", "contract"},
    "output": {"errors", "contract"},
    "commands": {"errors", "contract", *MIDDLE},
    # `contract.text` makes errors inert.
    "ending": {"errors", "contract.text"},
    # Commands are imported by name when called.
    "cli": {"errors", "contract.text", "ending"},
    "__main__": {"cli", "commands", "ending"},
}

# The same for the collector, `envcheck.` written out.
OF_THE_AGENT = {"envcheck.errors", "envcheck.contract", "envcheck.judge"}
SERVER = {
    "": set(),
    "settings": OF_THE_AGENT,
    "store": OF_THE_AGENT,
    # The service owns the interface that stores implement.
    "service": {*OF_THE_AGENT, "store.interface", "store.values", "settings"},
    "api": {*OF_THE_AGENT, "service", "settings", "store.interface", "store.values"},
    "web": {*OF_THE_AGENT, "service", "settings", "store.interface", "store.values"},
    # The only wiring.
    "app": {*OF_THE_AGENT, "settings", "store", "service", "api", "web"},
    "commands": {*OF_THE_AGENT, "settings", "store", "service", "api", "web", "app", "cli"},
    # One way to end a command line and one table of exit codes for both.
    "cli": {*OF_THE_AGENT, "settings", "envcheck.cli"},
    "__main__": {"cli"},
}

# The pure packages may import these and nothing else: no os, pathlib, socket, subprocess, time ...
PURE = {
    *("__future__", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib"),
    *("dataclasses", "datetime", "decimal", "enum", "fnmatch", "fractions", "functools", "hashlib"),
    *("itertools", "json", "math", "operator", "re", "statistics", "string", "struct", "textwrap", "types"),
    *("typing", "zlib", "sys", "_sha2", "_sha256", "cryptography", "msgspec", "packaging", "yaml"),
}
# ... but judge reads the policies that are packaged with it.
PURE_OF = {"contract": PURE, "judge": {*PURE, "importlib.resources"}}

# Parts in which a library has no business, whatever the table above says.
FOREIGN = {
    "envcheck_server.service": {"litestar", "uvicorn", "sqlalchemy", "sqlite3", "psycopg", "alembic"},
    "envcheck_server.api": {"sqlalchemy", "sqlite3", "psycopg", "alembic"},
    "envcheck_server.web": {"sqlalchemy", "sqlite3", "psycopg", "alembic"},
    "envcheck_server.store": {"litestar", "uvicorn"},
    # What captures never imports what it measures, and starts no pip.
    "envcheck.facts": {"torch", "onnxruntime", "onnx", "numpy", "pip", "pkg_resources"},
    "envcheck.output": {"requests", "subprocess", "socket"},
}

# Distribution of an import name where the two differ.
DISTRIBUTIONS = {
    "nacl": "pynacl",
    "yaml": "pyyaml",
    "cpuinfo": "py-cpuinfo",
    "sklearn": "scikit-learn",
    "cyclonedx": "cyclonedx-python-lib",
    "packageurl": "packageurl-python",
    "prometheus_client": "prometheus-client",
}

# Python's own, under names that not every version lists.
INTERNAL = {"_blake2", "_sha2", "_sha256"}

every_source = pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)


def part_of(name: str) -> str:
    """The part that a module belongs to: "contract" for envcheck.contract.canonical."""
    return ".".join(name.split(".")[1:2])


def may(source: Source, module: str) -> bool:
    own, part = source.name.split(".")[0], part_of(source.name)
    table = AGENT if own == "envcheck" else SERVER
    if module.split(".", maxsplit=1)[0] == own and part_of(module) == part and part:
        return True
    if module in ("envcheck", own):
        return part != "errors"
    allowed = {name if name.startswith("envcheck.") else f"{own}.{name}" for name in table[part]}
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


@every_source
def test_imports_point_one_way(source: Source) -> None:
    assert part_of(source.name) in (AGENT if source.name.split(".")[0] == "envcheck" else SERVER)
    wrong = [
        f"{source.path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for found in imports(source)
        if found.module.split(".")[0] in ("envcheck", "envcheck_server") and not may(source, found.module)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("importer", "module", "allowed"),
    [
        ("envcheck.contract.wire", "envcheck.contract.policy", True),
        ("envcheck.contract.wire", "envcheck.judge.judge", False),
        ("envcheck.errors", "envcheck", False),
        ("envcheck.smoke.run", "envcheck.facts.host", True),
        ("envcheck.smoke.run", "envcheck.facts.gather", False),
        ("envcheck.smoke.run", "envcheck.facts", False),
        ("envcheck.judge.judge", "envcheck.output.text", False),
        ("envcheck.commands.gate", "envcheck.cli", False),
        ("envcheck.cli", "envcheck.commands.gate", False),
        ("envcheck.transport.client", "envcheck_server.app", False),
        ("envcheck_server.service.gate", "envcheck.judge.decide", True),
        ("envcheck_server.service.gate", "envcheck.transport.client", False),
        ("envcheck_server.service.gate", "envcheck_server.store.sqlite", False),
        ("envcheck_server.service.gate", "envcheck_server.api.devices", False),
        ("envcheck_server.store.sqlite", "envcheck_server.service.gate", False),
    ],
)
def test_the_table_says_what_it_should(importer: str, module: str, allowed: bool) -> None:
    assert may(Source(importer, ROOT, "", package=False), module) is allowed


PURE_SOURCES = [
    source for source in sources().values() if part_of(source.name) in PURE_OF and "server" not in source.name
]


@pytest.mark.parametrize("source", PURE_SOURCES, ids=lambda source: source.name)
def test_contract_and_judge_do_no_io(source: Source) -> None:
    allowed = PURE_OF[part_of(source.name)]
    impure = [
        f"{source.path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for found in imports(source)
        if found.module not in allowed and found.module.split(".")[0] not in {*allowed, "envcheck"}
    ]
    assert impure == []
    assert [call for call in map(_called, ast.walk(source.tree)) if call in IMPURE_CALLS] == []


IMPURE_CALLS = {
    "open",
    "print",
    "input",
    "exec",
    "eval",
    "__import__",
    "datetime.now",
    "datetime.utcnow",
    "date.today",
}


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


@every_source
def test_no_library_where_it_has_no_business(source: Source) -> None:
    part = ".".join(source.name.split(".")[:2])
    found = {found.module.split(".")[0] for found in imports(source)}
    assert found & FOREIGN.get(part, set()) == set()


@every_source
def test_what_is_imported_is_declared(source: Source) -> None:
    """A library is a dependency or in an extra; what the agent's modules import at once is no extra's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {_name(requirement) for requirement in project["dependencies"]}
    extras = {_name(one) for many in project["optional-dependencies"].values() for one in many}
    # What comes with a declared library: requests uses urllib3, onnxruntime numpy.
    extras |= {"urllib3"}
    for found in imports(source):
        top = found.module.split(".")[0]
        if (
            top in sys.stdlib_module_names
            or top.startswith("envcheck")
            or top in ("_blake2", "_sha2", "_sha256")
        ):
            continue
        name = DISTRIBUTIONS.get(top, top)
        early = not (found.late or found.types_only) and not source.name.startswith("envcheck_server")
        assert name in (core if early else core | extras), f"{source.name}:{found.line} imports {top}"


def _name(requirement: str) -> str:
    return requirement.partition("[")[0].split(">")[0].split("=")[0].split("<")[0].strip().lower()


def test_what_runs_elsewhere_needs_nothing_of_ours() -> None:
    for name in (
        "envcheck.facts.probe",
        "envcheck.facts.probe_more",
        "envcheck.facts.probe_verify",
        "envcheck.smoke.child",
        "envcheck.smoke.child_bounds",
        "envcheck.smoke.child_isa",
        "envcheck.smoke.child_look",
        "envcheck.smoke.child_timings",
        "envcheck.smoke.child_values",
    ):
        for found in imports(sources()[name]):
            top = found.module.split(".")[0]
            assert top in sys.stdlib_module_names, f"{name}:{found.line} imports {top}"


def test_modules_are_imported_by_name_only_where_commands_are_chosen() -> None:
    users = {
        source.name
        for source in sources().values()
        if any(_called(node).endswith(("import_module", "__import__")) for node in ast.walk(source.tree))
    }
    # The child imports the libraries that it measures, and tells how long each took.
    assert users <= {"envcheck.cli", "envcheck_server.cli", "envcheck.smoke.child"}
