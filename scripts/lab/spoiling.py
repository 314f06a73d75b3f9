"""What is done to a copy of a virtual environment so that it is no longer whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def without_openblas(home: Path) -> None:
    """Remove the library that numpy links to."""
    for path in home.glob("lib/python*/site-packages/numpy.libs/*openblas*"):
        path.unlink()


def without_onnxruntime(home: Path) -> None:
    """Remove the package and what pip knows of it."""
    for path in home.glob("lib/python*/site-packages/onnxruntime*"):
        shutil.rmtree(path)


def without_a_module(home: Path) -> None:
    """Remove one file of the package."""
    for path in home.glob("lib/python*/site-packages/onnxruntime/capi/onnxruntime_validation.py"):
        path.unlink()


def with_a_silent_file(home: Path) -> None:
    """Put a pipe that nobody writes to where a library is: opening it never ends."""
    for path in home.glob("lib/python*/site-packages/numpy.libs/*openblas*"):
        path.unlink()
        os.mkfifo(path)
