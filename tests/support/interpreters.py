"""The Pythons of this machine, and virtual environments in them, built once and kept outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
# The newest onnxruntime with a wheel for each Python, held fixed so that tests repeat.
NEWEST_ONNXRUNTIME = {"3.8": "1.19.2", "3.9": "1.19.2", "3.10": "1.23.2"}
PINNED_ONNXRUNTIME = "1.32.0"


def newest_onnxruntime(version: str) -> str:
    """Return the requirement of the newest onnxruntime that Python `version` ("3.8") can have."""
    return f"onnxruntime=={NEWEST_ONNXRUNTIME.get(version, PINNED_ONNXRUNTIME)}"


@cache
def interpreters() -> dict[str, Path]:
    """Return the Pythons found here by version ("3.8"): pyenv's, those on PATH, and the running one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, Path] = {}
    for version in VERSIONS:
        candidates = [*sorted(pyenv.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")]
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            candidates.append(sys.executable)
        for candidate in candidates:
            if candidate and _is_python(str(candidate), version):
                found[version] = Path(candidate)
                break
    return found


def venv_with(python: Path, requirements: Sequence[str]) -> Path:
    """Return the interpreter of a virtual environment of `python` that holds `requirements`.

    It is made at the first call (needs the package index) and kept under ENVCHECK_TEST_CACHE, else
    ~/.cache/envcheck-tests; several test processes may ask at once.
    """
    name = hashlib.sha256(json.dumps([_identity(python), sorted(requirements)]).encode()).hexdigest()[:16]
    root = Path(os.environ.get("ENVCHECK_TEST_CACHE") or Path.home() / ".cache" / "envcheck-tests")
    root.mkdir(parents=True, exist_ok=True)
    home = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            _make(python, home, requirements)
    return home / "bin" / "python"


def _make(python: Path, home: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    _run([str(python), "-m", "venv", str(home)])
    if requirements:
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        _run([*pip, *requirements])
    (home / "complete").write_text("\n".join(requirements), encoding="utf-8")


def _run(command: list[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")


@cache
def _identity(python: Path) -> str:
    code = "import sys; print(sys.version, sys.base_prefix)"
    return subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout


def _is_python(candidate: str, version: str) -> bool:
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True, timeout=30)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version
