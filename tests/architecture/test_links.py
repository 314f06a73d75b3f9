"""Every relative link in a document leads somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.sources import ROOT

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def test_there_are_documents() -> None:
    assert Path("README.md") in documents()


@pytest.mark.parametrize("document", documents(), ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall((ROOT / document).read_text(encoding="utf-8")):
        if "://" in link or link.startswith(("#", "mailto:")):
            continue
        target = (ROOT / document).parent / link.partition("#")[0]
        assert target.exists(), f"{document} links to {link}"
