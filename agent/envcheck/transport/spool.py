"""Reports that could not be delivered, kept until they can be: one sealed file each, the newest few."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from envcheck.contract.document import decode, encode
from envcheck.contract.wire import Report
from envcheck.errors import BadInput
from envcheck.transport.files import refuse_write, seal, sync_directory, unseal, write_whole

KEPT = 8
_NAME = re.compile(r"(\d{10})-(\d{20})\.report")
_LARGEST = 1024 * 1024

Notice = Callable[[str], None]


class Spool:
    """The undelivered reports of one device, oldest first. Damaged ones are dropped, with a notice."""

    def __init__(self, directory: Path, notice: Notice) -> None:
        self.directory = directory
        self._notice = notice

    def put(self, report: Report) -> None:
        """Keep a report; a predecessor that says the same but for time and number gives way to it."""
        kept = self.all()
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._path(report), seal(encode(report)))
        except OSError as error:
            raise refuse_write("the report was not delivered, and the spool", self.directory, error) from None
        if kept and _same(kept[-1], report):
            self.drop(kept.pop())
        for old in kept[: max(0, len(kept) + 1 - KEPT)]:
            self._notice(f"report {old.seq} was never delivered and gives way to newer ones")
            self.drop(old)

    def all(self) -> list[Report]:
        """Return the kept reports, oldest first."""
        found = [self._read(path) for path in self._files()]
        return [report for report in found if report is not None]

    def body(self, report: Report) -> bytes:
        """Return the bytes of a kept report as they were composed.

        Whoever was not acknowledged may have been stored: another envcheck must not spell it differently.
        """
        return self._bytes(self._path(report)) or encode(report)

    def drop(self, report: Report) -> None:
        """Forget a report: it was delivered, or the collector will never take it."""
        self._path(report).unlink(missing_ok=True)
        sync_directory(self.directory)

    def _path(self, report: Report) -> Path:
        return self.directory / f"{report.epoch:010}-{report.seq:020}.report"

    def _bytes(self, path: Path) -> bytes | None:
        with path.open("rb") as file:
            return unseal(file.read(_LARGEST))

    def _files(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))

    def _read(self, path: Path) -> Report | None:
        try:
            data = self._bytes(path)
            if data is not None:
                return decode(data, Report, str(path))
            problem = "it is damaged"
        except (OSError, BadInput) as error:
            problem = str(error)
        self._notice(f"an undelivered report, {path.name}, is lost: {problem}")
        path.unlink(missing_ok=True)
        return None


def _same(one: Report, other: Report) -> bool:
    def timeless(report: Report) -> Report:
        return msgspec.structs.replace(report, seq=0, captured_at="", readings={})

    return timeless(one) == timeless(other)
