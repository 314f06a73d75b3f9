"""The virtual environments that capture is measured in: made once, outside the tree, from pinned lists."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
DEFAULT = Path.home() / ".cache/envcheck-bench"


@dataclass(frozen=True)
class Places:
    """Three environments below `base`.

    `environment` holds what is measured (about 150 distributions, envcheck among them), `agent` holds
    envcheck and what it needs alone, as a device's own installation does, `tools` holds the peers that
    are no part of an inference image.
    """

    base: Path

    @property
    def environment(self) -> Path:
        return self.base / "environment/bin"

    @property
    def agent(self) -> Path:
        return self.base / "agent/bin"

    @property
    def tools(self) -> Path:
        return self.base / "tools/bin"

    @property
    def cache(self) -> Path:
        """Where envcheck keeps its caches while it is measured."""
        return self.base / "cache"


def make(base: Path) -> Places:
    """Make what is missing, and install the working tree as it is now."""
    places = Places(base)
    pinned = HERE / "environment.txt"
    _environment(places.environment, ["-r", str(pinned), str(TREE)], [pinned, TREE / "pyproject.toml"])
    _environment(places.agent, ["-c", str(pinned), str(TREE)], [pinned, TREE / "pyproject.toml"])
    _environment(places.tools, ["-r", str(HERE / "tools.txt")], [HERE / "tools.txt"])
    with tempfile.TemporaryDirectory() as folder:
        _say("installing the working tree")
        _run([places.tools / "hatchling", "build", "-t", "wheel", "-d", folder])
        (wheel,) = Path(folder).glob("*.whl")
        for place in (places.environment, places.agent):
            _pip(place, "--no-deps", "--force-reinstall", str(wheel))
    return places


def _environment(place: Path, requirements: list[str], made_from: list[Path]) -> None:
    """Make a virtual environment, anew only when Python or what it is made from has changed."""
    done = place.parent / "made-from"
    wanted = "\n".join([sys.version, *requirements, *(file.read_text() for file in made_from)])
    if done.is_file() and done.read_text() == wanted:
        return
    _say(f"making {place.parent} (once)")
    _run([sys.executable, "-m", "venv", "--clear", place.parent])
    _pip(place, *requirements)
    done.write_text(wanted)


def _pip(place: Path, *arguments: str) -> None:
    _run([place / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, cwd=TREE, check=True, stdout=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
