"""Asking and filling real interpreters, for tests of what is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envcheck.contract.fingerprint import Fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import Target

ASKED = ("python", "packages", "onnxruntime")
Wheel = Callable[..., Path]
Venv = Callable[..., str]


def asked(python: str | Path, environ: dict[str, str] | None = None) -> Fingerprint:
    return capture(Target(str(python), environ), sections=ASKED)


def packages(found: Fingerprint) -> dict[str, Any]:
    assert found.sections["packages"].status == "ok", found.sections["packages"]
    return found.sections["packages"].shared


def site_of(python: str) -> Path:
    return next(Path(python).parents[1].glob("lib/python3*/site-packages"))


def pip(python: str, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
        "-q",
        *arguments,
    ]
    subprocess.run(command, check=True, capture_output=True)
