"""An upload that is too large for memory: written to a file without a name, and read as it lies there."""

from __future__ import annotations

import errno
import hashlib
import mmap
import tempfile
from pathlib import Path
from types import TracebackType

from envcheck_server.store.interface import StoreFull


class Upload:
    """Bytes as they arrive, and their digest. Nothing of it is left when the block ends, however it ends."""

    def __init__(self, directory: Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 (closed by __exit__)
        self._hash = hashlib.sha256()

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, piece: bytes) -> None:
        """Add what arrived; raises StoreFull when there is no room for it."""
        self._hash.update(piece)
        try:
            self._file.write(piece)
            self._file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull("the collector's disk has no room for it", "make room on it") from error
            raise

    def digest(self) -> str:
        """Return the SHA-256 of what arrived."""
        return self._hash.hexdigest()

    def view(self) -> memoryview:
        """Map what arrived. The system takes the memory back when it needs it, or when nobody looks."""
        if self._file.tell() == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
