"""What every section is written with: its scene, its facts, and ways to say what could not be had."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec

from envcheck.contract.document import Value
from envcheck.contract.fingerprint import Section, Status
from envcheck.facts.host import Host, Target
from envcheck.facts.interpreter import Interpreter

_INTEGER_DIGITS = 18


class Facts(Value, frozen=True, kw_only=True):
    """Facts of one class (shared, device or reading) of a section. What could not be had is left out."""


class Unavailable(Exception):
    """A section can't be gathered: it is absent, unreadable, skipped or failed. Reasons enter digests."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Scene:
    """Where a section is gathered: the machine, the target, what its interpreter told, the time there is.

    Reading notes every file that is there but may not be read, so that this is never taken for absence.
    """

    def __init__(
        self,
        host: Host,
        target: Target,
        ask: Callable[[], Interpreter],
        deadline: float = math.inf,
        *,
        verify: bool = False,
    ) -> None:
        self.host = host
        self.target = target
        self.interpreter = ask
        self.verify = verify
        self._deadline = deadline
        self.unreadable: list[str] = []

    def left_s(self) -> float:
        """Return the seconds that are left for a process of this section, with some to spare for telling."""
        return max(0.05, (self._deadline - time.monotonic()) * 0.9)

    def data(self, path: str) -> bytes | None:
        """Return a file's bytes, None when it is not there or may not be read (which is noted)."""
        try:
            return self.host.read(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError:
            self.unreadable.append(path)
            return None

    def text(self, path: str) -> str | None:
        """Return a file's text without white space and zero bytes around it, None as for `data`."""
        data = self.data(path)
        return None if data is None else clean(data)

    def number(self, path: str) -> int | None:
        """Return the integer that a file holds, None as for `data` or when it holds none."""
        return integer(self.text(path) or "")

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory; none when it is not there or may not be read (noted)."""
        try:
            return self.host.names(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError:
            self.unreadable.append(path)
            return []

    def link(self, path: str) -> str | None:
        """Return what a symbolic link holds, None when it is none."""
        try:
            return self.host.link(path)
        except OSError:
            return None


Gather = Callable[[Scene], Section]


def section(
    shared: Facts | dict[str, Any],
    device: Facts | None = None,
    readings: Facts | None = None,
    *,
    status: Status = "ok",
    reason: str = "",
) -> Section:
    """Put facts into a section as plain data."""
    return Section(
        status=status,
        reason=reason,
        shared=msgspec.to_builtins(shared),
        device=msgspec.to_builtins(device) if device else {},
        readings=msgspec.to_builtins(readings) if readings else {},
    )


def clean(data: bytes) -> str:
    """Turn a file's bytes into text: any bytes will do."""
    return data.decode("utf-8", "replace").strip("\0 \t\r\n")


def integer(text: str) -> int | None:
    """Read a decimal integer of reasonable size from the beginning of `text`; None when there is none."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    digits = word[1:] if word[:1] == "-" else word
    if not digits.isascii() or not digits.isdigit() or len(digits) > _INTEGER_DIGITS:
        return None
    return int(word)


def pairs(text: str, separator: str = ":") -> dict[str, str]:
    """Read `name: value` lines; the first one of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, has, value = line.partition(separator)
        if has:
            found.setdefault(name.strip(), value.strip())
    return found


def cpu_list(text: str) -> list[int]:
    """Read the kernel's list format (`0-3,8`); what does not fit is left out."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        first, last = integer(low), integer(high or low)
        if first is not None and last is not None and 0 <= first <= last < 65536:
            numbers.update(range(first, last + 1))
    return sorted(numbers)
