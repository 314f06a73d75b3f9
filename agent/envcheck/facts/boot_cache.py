"""Answers that hold until the next boot, in the user's cache directory: safe to delete, may be read-only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

_LIMIT = 64 * 1024


def kept_until_boot(environ: Mapping[str, str], name: str, boot_id: str, ask: Callable[[], bytes]) -> bytes:
    """Return the answer kept under `name` since this boot, else ask and keep what is not empty.

    A cache that can't be read or written costs time, never an answer. What somebody else has put there (in a
    home that is not ours, as with sudo) is not believed.
    """
    path = _folder(environ) / name
    head = f"{boot_id}\n".encode()
    if boot_id:
        with contextlib.suppress(OSError), path.open("rb") as file:
            found = file.read(_LIMIT)
            if found.startswith(head) and os.fstat(file.fileno()).st_uid == os.geteuid():
                return found[len(head) :]
    answer = ask()
    if boot_id and answer:
        _keep(path, head + answer)
    return answer


def _folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME') or '/nonexistent'}/.cache"
    return Path(base) / "envcheck"


def _keep(path: Path, data: bytes) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(scratch).replace(path)
        except OSError:
            Path(scratch).unlink(missing_ok=True)
