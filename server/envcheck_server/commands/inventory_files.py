"""Files of devices that an operator names."""

from __future__ import annotations

from pathlib import Path

from envcheck.errors import BadInput

# Ten million lines of a device's id and a few labels.
_LARGEST = 1024**3


def read_list(path: Path) -> bytes:
    """Read a list of devices; raises BadInput that names the file."""
    try:
        if path.stat().st_size > _LARGEST:
            raise BadInput(f"{path} is larger than {_LARGEST // 1024**2} MB: that is no list of devices")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"the list of devices {path} can't be read: {error.strerror}") from None
