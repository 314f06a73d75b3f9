"""A small real bundle, and stand-ins for interpreters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_models import classifier_bundle

from envcheck.contract.bundle import Bundle


@pytest.fixture(scope="session")
def digits() -> Bundle:
    """The small classifier as a bundle."""
    return classifier_bundle()


@pytest.fixture
def wrapper(tmp_path: Path) -> Callable[[str], str]:
    """Write a shell script that stands in for an interpreter; `$@` are the interpreter's arguments."""

    def write(body: str) -> str:
        path = tmp_path / "python-wrapper"
        path.write_text("#!/bin/sh\n" + body + "\n", encoding="ascii")
        path.chmod(0o755)
        return str(path)

    return write
