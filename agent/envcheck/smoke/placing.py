"""Puts what a run needs into its work directory: the model, the golden inputs, the canaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from envcheck.errors import BadInput, Undetermined

_CHUNK = 256 * 1024


@dataclass(frozen=True)
class Part:
    """Bytes that become a file; `digest` is theirs as it was checked, empty for bytes of our own."""

    data: bytes | memoryview
    digest: str = ""


def place(parts: Mapping[str, Part], workdir: Path, source: str) -> None:
    """Write the parts as files of these names into `workdir`.

    What lies in a mapped file could have been changed since it was checked, so what is written is checked
    again. Raises BadInput where it is not the same, naming `source`; Undetermined where there is no room.
    """
    try:
        for name, part in parts.items():
            written = _write(part.data, workdir / name)
            if part.digest and written != part.digest:
                raise BadInput(f"{source} was changed while it was read", "run it again, from a file at rest")
    except OSError as error:
        raise Undetermined(
            f"the model does not fit into {workdir.parent}: {error.strerror}",
            "set TMPDIR to a directory with room",
        ) from None


def _write(data: bytes | memoryview, path: Path) -> str:
    """Write chunk by chunk, each taken out of the file once; returns the digest of what was written."""
    whole = sha256()
    source = memoryview(data)
    # One buffer that stays in the processor's cache: fresh memory for each chunk costs more than the rest.
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("wb") as file:
        for at in range(0, len(source), _CHUNK):
            chunk = buffer[: min(_CHUNK, len(source) - at)]
            chunk[:] = source[at : at + _CHUNK]
            whole.update(chunk)
            file.write(chunk)
    return whole.hexdigest()
