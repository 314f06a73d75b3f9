"""The README shows the help that the command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.sources import ROOT

SECTION = re.compile(r"<!-- help -->\s*```[a-z]*\n(.*?)```\s*<!-- /?help -->", re.DOTALL)


def test_the_readme_equals_the_help() -> None:
    """Between `<!-- help -->` and `<!-- /help -->` stands, as a code block, what `envcheck --help` prints."""
    found = SECTION.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(found) == 1, "README.md needs one code block between <!-- help --> and <!-- /help -->"
    command = Path(sys.executable).with_name("envcheck")
    # 80 columns: what a pipe gets.
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    lines = [line.rstrip() for line in found[0].strip().splitlines()]
    if lines[0] == "$ envcheck --help":
        lines = lines[1:]
    assert lines == [line.rstrip() for line in shown.strip().splitlines()]
