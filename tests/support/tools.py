"""Tools that a test needs from the machine: one that is missing skips it, or fails it where all must be."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRE = "ENVCHECK_REQUIRE_TOOLS"


def need(tool: str) -> str:
    """Return the path of `tool`; skip the test where it is missing, fail under ENVCHECK_REQUIRE_TOOLS=1."""
    found = shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        missing(f"{tool} is not installed")
    return str(found)


def missing(reason: str) -> None:
    """Skip the test for `reason`, or fail it under ENVCHECK_REQUIRE_TOOLS=1."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason}, and {REQUIRE}=1 requires it")
    pytest.skip(reason)
