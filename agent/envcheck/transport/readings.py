"""The few readings that every report carries; the fingerprint has the rest on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from envcheck.contract.document import Document
from envcheck.contract.fingerprint import Fingerprint
from envcheck.contract.wire import MODEL_READING, UNREADABLE
from envcheck.transport.files import file_digest
from envcheck.transport.state import State

Reading = bool | int | float | str
Notice = Callable[[str], None]

# section and name of the reading; absent ones are left out.
REPORTED = (
    ("memory", "available_mib"),
    ("cuda", "celsius"),
    ("system", "clock_synchronised"),
)
# Half a digest names hardware as well, and every report carries it.
HARDWARE_DIGITS = 32


class DeployedModel(Document, frozen=True, kw_only=True):
    """The digest of the deployed model's file, and what the file looked like when it was read."""

    FORMAT: ClassVar[str] = "envcheck.deployed-model/1.0"

    path: str
    size: int
    modified_ns: int
    inode: int
    sha256: str


def report_readings(fingerprint: Fingerprint) -> dict[str, Reading]:
    """Choose what a report tells of the device's present state."""
    chosen: dict[str, Reading] = {}
    for section, name in REPORTED:
        held = fingerprint.sections.get(section)
        value: Any = held.readings.get(name) if held is not None else None
        # That all is well goes without saying: a steady report stays below 600 bytes.
        if isinstance(value, bool | int | float | str) and value is not True:
            chosen[f"{section}.{name}"] = value
    return chosen


def model_digest(path: str, state: State, notice: Notice) -> dict[str, Reading]:
    """Return the digest of the deployed model as a reading; the file is read again only when it changed."""
    if not path:
        return {}
    try:
        found = _look(Path(path), state)
    except OSError as error:
        notice(f"the deployed model {path} can't be read: {error.strerror or error}")
        return {MODEL_READING: UNREADABLE}
    return {MODEL_READING: found.sha256}


def _look(path: Path, state: State) -> DeployedModel:
    now = path.stat()
    seen = (str(path), now.st_size, now.st_mtime_ns, now.st_ino)
    known = state.load("model", DeployedModel)
    if known is not None and (known.path, known.size, known.modified_ns, known.inode) == seen:
        return known
    found = DeployedModel(
        path=seen[0], size=seen[1], modified_ns=seen[2], inode=seen[3], sha256=file_digest(path)
    )
    state.save("model", found)
    return found
