"""Where the lab keeps what takes long to make, and the few commands that it runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
DIGITS = TREE / "examples" / "digits"
CACHE = Path(os.environ.get("ENVCHECK_LAB_CACHE") or Path.home() / ".cache" / "envcheck-lab")
_MAKING_S = 900.0


class Unavailable(Exception):
    """Something that this machine does not have: the cells that need it are told, and not run."""


class Failed(Exception):
    """A command that ought to have worked did not: what it was to show is not shown."""


def digest(*parts: object) -> str:
    """Return sixteen hexadecimal digits that stand for `parts`."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        hasher.update(b"%d:" % len(data) + data)
    return hasher.hexdigest()[:16]


def digest_tree(root: Path) -> str:
    """Return a digest of the sources below `root`."""
    files = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".yaml"))
    return digest(*(part for path in files for part in (path.relative_to(root), path.read_bytes())))


def make_once(home: Path, make: Callable[[Path], None]) -> Path:
    """Return the directory `home`, made by the first who asks; one that was left half made is made anew."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with _locked(home.with_name(home.name + ".lock")):
        if not (home / ".complete").exists():
            execute(["rm", "-rf", str(home)])
            home.mkdir()
            make(home)
            (home / ".complete").touch()
    return home


def execute(
    command: Sequence[str | Path], *, environ: Mapping[str, str] | None = None, deadline_s: float = _MAKING_S
) -> str:
    """Run a command to its end and return what it printed; raises Failed with its last words."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            check=False,
            env={**inherited, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{words[0]}: {error}") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(words[:6])} ended with {done.returncode}: {done.stderr[-400:]}")
    return done.stdout


def write_program(path: Path, text: str) -> Path:
    """Write an executable script whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(path)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
