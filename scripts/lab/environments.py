"""The fleet: really different environments on one Linux machine.

x86-64 environments are virtual environments of every Python that is found; an emulated CPU is the same
under `qemu-x86_64-static -cpu MODEL`. The arm64 ones are real aarch64 wheels below a Debian root
(see `arm64.py`) under `qemu-aarch64-static`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import arm64
from places import CACHE, Failed, Unavailable, digest, execute, make_once

Kind = Literal["native", "x86-64", "arm64"]
# The newest and older ones of which each Python has a wheel, held fixed so that runs repeat.
WHEELS = {
    "3.8": ("1.19.2", "1.16.3"),
    "3.9": ("1.19.2", "1.17.3"),
    "3.10": ("1.23.2", "1.18.1", "1.16.3"),
    "3.11": ("1.32.0", "1.21.1", "1.16.3"),
    "3.12": ("1.32.0", "1.26.0", "1.20.1"),
    "3.13": ("1.32.0", "1.28.0", "1.22.1"),
    "3.14": ("1.32.0",),
}
# Training is the Python that runs the lab, with the newest onnxruntime that it can have.
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
NEWEST = WHEELS[RUNNING][0]
TRAINING = f"py{RUNNING}-ort{NEWEST}"
OLDEST = "py3.8-ort1.16.3"


@dataclass(frozen=True)
class Environment:
    """One environment. `cpu` is the model that qemu emulates, "" for the machine's own.

    `numpy` is a requirement for numpy where the newest does not fit. An emulated one is bound to one
    processor: threads that spin for each other are slow beyond reason there.
    """

    name: str
    python: str
    requirements: tuple[str, ...]
    kind: Kind = "native"
    cpu: str = ""
    about: str = ""

    @property
    def onnxruntime(self) -> tuple[int, ...]:
        """The version of the onnxruntime that was installed last, major and minor."""
        last = [name for name in self.requirements if name.startswith("onnxruntime")][-1]
        return tuple(int(part) for part in last.partition("==")[2].split(".")[:2])

    @property
    def emulated(self) -> bool:
        """Whether qemu runs it."""
        return self.kind != "native"


@dataclass(frozen=True)
class Ready:
    """An environment that is there: the command that starts its interpreter, and what it is."""

    environment: Environment
    command: tuple[str, ...]
    identity: str


def fleet() -> list[Environment]:
    """Return every environment of the lab, those that this machine can't have included."""
    return [*_wheels(), *_flavours(), *_emulated(), *_arm64()]


def _wheels() -> list[Environment]:
    return [
        Environment(f"py{python}-ort{version}", python, _requirements(version))
        for python, versions in WHEELS.items()
        for version in versions
    ]


def _flavours() -> list[Environment]:
    gpu, openvino = "onnxruntime-gpu==1.23.2", "onnxruntime-openvino==1.24.1"
    return [
        Environment("gpu", RUNNING, (gpu,), about="onnxruntime-gpu without a GPU: runs on the CPU"),
        Environment("openvino", RUNNING, (openvino,), about="onnxruntime-openvino: a second provider"),
        Environment(
            "both-flavours",
            RUNNING,
            (*_requirements(NEWEST), gpu),
            about="onnxruntime and onnxruntime-gpu installed over each other",
        ),
    ]


def _emulated() -> list[Environment]:
    newest = Environment("", RUNNING, _requirements(NEWEST), "x86-64")
    oldest = Environment("", "3.8", _requirements("1.16.3"), "x86-64")
    haswell, sandy, nehalem = "AVX2 without VNNI", "AVX without AVX2 and FMA", "SSE4.2 without AVX"
    return [
        replace(newest, name="haswell", cpu="Haswell", about=haswell),
        replace(newest, name="sandybridge", cpu="SandyBridge", about=sandy),
        replace(newest, name="nehalem", cpu="Nehalem", about=nehalem),
        replace(newest, name="epyc-milan", cpu="EPYC-Milan", about=f"{haswell}, AMD"),
        replace(oldest, name="haswell-old", cpu="Haswell", about=haswell),
        replace(oldest, name="nehalem-old", cpu="Nehalem", about=nehalem),
    ]


def broken() -> list[Environment]:
    """Return environments in which nothing can run; they are planted faults themselves."""
    newest = Environment("", RUNNING, _requirements(NEWEST))
    return [
        replace(newest, name="conroe", kind="x86-64", cpu="Conroe", about="SSSE3 alone"),
        replace(newest, name="arm64-foreign-cpuinfo", kind="arm64", about="x86's /proc/cpuinfo on arm64"),
    ]


def _arm64() -> list[Environment]:
    newest = Environment("", arm64.PYTHON, _requirements("1.32.0"), "arm64")
    oldest = Environment("", arm64.PYTHON, _requirements("1.16.3"), "arm64")
    return [
        replace(newest, name="cortex-a72", cpu="cortex-a72", about="as in a Raspberry Pi 4: no dot product"),
        replace(newest, name="neoverse-n1", cpu="neoverse-n1", about="dot product, fp16 arithmetic"),
        replace(newest, name="arm64-max", cpu="max,sme=off", about="SVE, bf16, i8mm"),
        replace(newest, name="arm64-sme", cpu="max", about="and SME, as qemu has it"),
        replace(oldest, name="cortex-a72-old", cpu="cortex-a72", about="no dot product"),
    ]


def _requirements(version: str) -> tuple[str, ...]:
    """Before 1.19 onnxruntime was built for numpy 1."""
    old = tuple(int(part) for part in version.split(".")[:2]) < (1, 19)
    return (f"onnxruntime=={version}", *(("numpy<2",) if old else ()))


def prepare(environment: Environment) -> Ready:
    """Make an environment, or find it made; raises Unavailable where this machine can't have it."""
    try:
        return _prepare(environment)
    except Failed as error:
        raise Unavailable(str(error)) from None


def _prepare(environment: Environment) -> Ready:
    if environment.kind == "arm64":
        command = arm64.command(environment.cpu, environment.requirements)
    else:
        command = (str(virtual_environment(environment.python, environment.requirements)),)
        if environment.cpu:
            command = (tool("qemu-x86_64-static"), "-cpu", environment.cpu, *command)
    freeze = "import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
    holds = execute([*command, "-I", "-c", freeze.replace("d.name", "d.metadata['Name']")])
    return Ready(environment, command, digest(environment.kind, environment.cpu, environment.python, holds))


def virtual_environment(python: str, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of a virtual environment that holds `requirements`, in that order."""
    base = interpreters().get(python)
    if base is None:
        raise Unavailable(f"there is no Python {python} on this machine")

    def make(home: Path) -> None:
        execute([base, "-m", "venv", home])
        for requirement in _groups(requirements):
            execute([home / "bin/python", "-m", "pip", "install", "-q", *requirement])

    return make_once(CACHE / f"venv-{python}-{digest(requirements)}", make) / "bin" / "python"


def _groups(requirements: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Two flavours of onnxruntime are installed one after the other; everything else at once."""
    flavours = [name for name in requirements if name.startswith("onnxruntime")]
    rest = tuple(name for name in requirements if name not in flavours)
    return [(flavours[0], *rest), *((flavour,) for flavour in flavours[1:])]


@functools.cache
def interpreters() -> dict[str, str]:
    """Return the Pythons of this machine by version ("3.8"): pyenv's, those on PATH, the running one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in WHEELS:
        candidates = [*sorted(pyenv.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")]
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            candidates.append(getattr(sys, "_base_executable", sys.executable))
        working = (str(each) for each in candidates if each and _has_venv(str(each)))
        if first := next(working, None):
            found[version] = first
    return found


def _has_venv(python: str) -> bool:
    code = "import ensurepip, venv"
    ended = subprocess.run([python, "-I", "-c", code], check=False, capture_output=True, timeout=30)
    return ended.returncode == 0


def tool(name: str) -> str:
    """Return the path of a program; raises Unavailable."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found
