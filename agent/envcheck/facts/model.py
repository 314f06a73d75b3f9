"""The digest of the deployed model file, in a time that is bounded."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any

from envcheck.facts.host import Host
from envcheck.facts.patience import within

_CHUNK = 1024 * 1024


def read_digest(host: Host, path: str, left_s: float) -> dict[str, Any]:
    """Return `status` and, when that is ok, `sha256` and `size` in bytes of a file.

    `status` is ok, absent, unreadable (also what is no plain file) or error: not read in `left_s` seconds.
    """
    try:
        return within(left_s, lambda: _read_digest(host, path, time.monotonic() + left_s))
    except TimeoutError:
        return {"status": "error"}


def _read_digest(host: Host, path: str, deadline: float) -> dict[str, Any]:
    try:
        handle = os.open(host.real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return {"status": "absent"}
    except OSError:
        return {"status": "unreadable"}
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return {"status": "unreadable"}
        whole, size = hashlib.sha256(), 0
        while chunk := os.read(handle, _CHUNK):
            whole.update(chunk)
            size += len(chunk)
            if time.monotonic() > deadline:
                return {"status": "error"}
    except OSError:
        return {"status": "unreadable"}
    finally:
        os.close(handle)
    return {"status": "ok", "sha256": whole.hexdigest(), "size": size}
