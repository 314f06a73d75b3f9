"""Puts what a run needs into its work directory: the model, the golden inputs, the canaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path

from envcheck.contract.bundle import INPUTS, MODEL, Bundle, Checking
from envcheck.contract.canonical import digest
from envcheck.errors import BadInput, Undetermined

MODEL_FILE, INPUTS_FILE = "model.onnx", "golden.npz"
_FILES = {MODEL: MODEL_FILE, INPUTS: INPUTS_FILE}
_CHUNK = 256 * 1024


def put(data: bytes | memoryview, path: Path) -> str:
    """Write a file of a run and return its digest as written; raises Undetermined where there is no room."""
    try:
        return _write(data, path)
    except OSError as error:
        raise Undetermined(
            f"the model does not fit into {path.parent.parent}: {error.strerror}",
            "set TMPDIR to a directory with room",
        ) from None


def checked_in_place(workdir: Path) -> Checking:
    """Check a bundle while what the child reads of it is written into `workdir`.

    So the bytes that are checked are those that the child reads, and each is taken out of the bundle once.
    """
    return Checking(partial(_take, workdir), _side_by_side)


def _side_by_side(checks: Sequence[Callable[[], None]]) -> None:
    """Each goes through every byte: on two cores where there are two."""
    with ThreadPoolExecutor(len(checks)) as executor:
        for running in [executor.submit(check) for check in checks]:
            running.result()


def _take(workdir: Path, member: str, content: bytes) -> str:
    return put(content, workdir / _FILES[member]) if member in _FILES else digest(content)


def place(bundle: Bundle, workdir: Path) -> None:
    """Write what the child reads of a bundle that is open already.

    What lies in a mapped file could have been changed since it was checked, so what is written is checked
    again. Raises BadInput where it is not the same, Undetermined where there is no room.
    """
    for member in _FILES:
        if _take(workdir, member, bundle.members[member]) != bundle.manifest.members[member]:
            raise BadInput(
                f"{bundle.source} was changed while it was read", "run it again, from a file at rest"
            )


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
