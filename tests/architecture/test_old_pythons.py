"""The agent is written for Python 3.10, what runs in the measured interpreter for older ones."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.sources import Source, sources
from support.tools import missing

OLDEST = (3, 10)
PROBES = ["envcheck.facts.probe", "envcheck.facts.probe_more", "envcheck.facts.probe_verify"]
CHILD = [f"envcheck.smoke.child{part}" for part in ("", "_look", "_timings", "_values")]
OLDER = {**dict.fromkeys(PROBES, (3, 6)), **dict.fromkeys(CHILD, (3, 8))}
OLDEST_SERVER = (3, 11)

COMPILE = "import sys\nfor path in sys.argv[1:]:\n    compile(open(path, 'rb').read(), path, 'exec')\n"


def oldest(source: Source) -> tuple[int, int]:
    server = source.name.split(".")[0] == "envcheck_server"
    return OLDER.get(source.name, OLDEST_SERVER if server else OLDEST)


def interpreter(version: str) -> Path | None:
    """A Python of this version from pyenv or PATH; also of those that no longer make virtual environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    candidates = [*sorted(pyenv.glob(f"{version}.*/bin/python")), *([Path(named)] if named else [])]
    return next((path for path in candidates if path.exists()), None)


@pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)
def test_the_syntax_is_old_enough(source: Source) -> None:
    ast.parse(source.text, str(source.path), feature_version=oldest(source))


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("3.6", PROBES),
        ("3.7", PROBES),
        ("3.8", sorted(OLDER)),
        ("3.9", sorted(OLDER)),
        ("3.10", sorted(name for name in sources() if not name.startswith("envcheck_server"))),
    ],
)
def test_a_real_interpreter_compiles_it(version: str, names: list[str]) -> None:
    python = interpreter(version)
    if python is None:
        missing(f"Python {version} is not here")
    paths = [str(sources()[name].path) for name in names]
    found = subprocess.run([str(python), "-I", "-c", COMPILE, *paths], capture_output=True, text=True)
    assert found.stderr == ""
    assert found.returncode == 0


@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_what_is_new_is_not_compiled_by_what_is_old(version: str) -> None:
    """The test above can fail: an older interpreter does refuse newer syntax."""
    python = interpreter(version)
    if python is None:
        missing(f"Python {version} is not here")
    program = "compile('match x:\\n    case 1: pass', 'x', 'exec')"
    assert subprocess.run([str(python), "-I", "-c", program], capture_output=True).returncode == 1
