"""What the tests of facts share: trees, interpreters, small wheels, a user without rights."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import pytest
from support.interpreters import interpreters

from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.section import Scene

HOSTS = Path(__file__).parents[1] / "hosts"
_NOBODY = 65534


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_python" in metafunc.fixturenames:
        found = all_pythons()
        metafunc.parametrize("any_python", list(found.values()), ids=list(found))
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", sorted(path.parent.name for path in HOSTS.glob("*/root")))


def all_pythons() -> dict[str, Path]:
    """The Pythons that the probe must run in: as the other tests find them, and those older than 3.8."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, Path] = {}
    for version in ("3.6", "3.7"):
        candidates = [
            *map(str, sorted(pyenv.glob(f"{version}.*/bin/python"))),
            shutil.which(f"python{version}"),
        ]
        for candidate in candidates:
            if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
                found[version] = Path(candidate)
                break
    # A distribution's own Python, whose packages lie in dist-packages and often are egg-info.
    own = {"system": Path("/usr/bin/python3")} if Path("/usr/bin/python3").exists() else {}
    return {**found, **interpreters(), **own}


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str | bytes]], Host]:
    """Make a captured tree from paths and contents."""

    def make(files: dict[str, str | bytes]) -> Host:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Host(root=root, environ={})

    return make


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """Make a scene on a host, with the answer of an interpreter where one is needed."""

    def make(host: Host, told: Interpreter | None = None, target: Target | None = None) -> Scene:
        def ask() -> Interpreter:
            assert told is not None
            return told

        return Scene(host, target or Target(sys.executable), ask)

    return make


@cache
def load_everything() -> None:
    """Import what a capture imports late: another user may not be able to read this Python's library."""
    capture(Target(sys.executable, {}))


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """Run a block as a user who may not read everything, also where the tests run as root."""

    @contextmanager
    def block() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        load_everything()
        os.seteuid(_NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return block


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter (pytest's own belong to one user)."""
    path = Path("/tmp") / f"envcheck-test-{os.getpid()}"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


def make_wheel(folder: Path, name: str, version: str, body: str = "x = 1\n", build: str = "test") -> Path:
    """Write a small pure wheel with one module, one console script and a correct RECORD."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": body,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: {build}\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:x\n",
    }
    rows = [f"{path},sha256={_record_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def make_venv(folder: Path, *wheels: Path) -> str:
    """Make a virtual environment of the running Python, install wheels into it, return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    if wheels:
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
        quiet = ["-q", "--no-index", "--no-deps", *map(str, wheels)]
        subprocess.run([*pip, *quiet], check=True, capture_output=True)
    return python


def _record_digest(content: str) -> str:
    raw = hashlib.sha256(content.encode()).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def wheel() -> Callable[..., Path]:
    return make_wheel


@pytest.fixture
def venv() -> Callable[..., str]:
    return make_venv
