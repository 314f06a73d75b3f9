"""Files written whole or not at all, durable when the call returns, and seals that show damage."""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

from envcheck.contract.canonical import digest
from envcheck.errors import BadInput

_CHUNK = 1024 * 1024
_SEAL = 65  # 64 hexadecimal digits and a newline


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` to `path`: after a power cut the old content is there or the new, never a mixture.

    Raises OSError; the temporary file is then gone.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # left by a run that was killed
    # Windows would otherwise write \r\n for \n.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_named(path: Path, data: bytes) -> None:
    """Write to the place that a person named: a file whole or not at all, anything else straight.

    A link stays a link. What is no file (a pipe, /dev/null, /dev/stdout) must not be replaced by one, least
    of all by root. Raises OSError.
    """
    if path.exists() and (not path.is_file() or path.absolute().parts[1:2] in (("dev",), ("proc",))):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
            file.write(data)
    else:
        write_whole(Path(os.path.realpath(path)), data, mode=0o644)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read a piece at a time. Raises OSError."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


def map_file(path: Path) -> memoryview:
    """Return a view of a file's bytes, which take no memory that the system could not have back.

    Only for files that nobody truncates meanwhile: a page that is gone kills the process. Raises OSError.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def sync_directory(directory: Path) -> None:
    """Make renames and removals in `directory` durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal(data: bytes) -> bytes:
    """Put the digest of `data` before it."""
    return digest(data).encode("ascii") + b"\n" + data


def unseal(sealed: bytes) -> bytes | None:
    """Return what was sealed, None when a byte of it was changed or is missing."""
    data = sealed[_SEAL:]
    return data if sealed[:_SEAL] == digest(data).encode("ascii") + b"\n" else None


def refuse_write(what: str, path: Path, error: OSError) -> BadInput:
    """Return the error that says why `path` can't be written and what to do."""
    hint = "free some space there" if error.errno in _FULL else "run as the user who owns it"
    return BadInput(f"{what} {path} can't be written: {error.strerror or error}", hint)


_FULL = (28, 122)  # ENOSPC, EDQUOT
