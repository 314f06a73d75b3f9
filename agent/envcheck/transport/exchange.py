"""Telling the collector: undelivered reports first, then this one, then the objects that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envcheck.contract.document import encode
from envcheck.contract.wire import Report, ReportAnswer
from envcheck.errors import Unreachable
from envcheck.transport.client import send_object, send_report
from envcheck.transport.link import Later, Link, Refused
from envcheck.transport.spool import Spool

Notice = Callable[[str], None]

# The collector will never take this very report, whatever happens: keeping it would block those after it.
_NEVER = frozenset({400, 409, 413, 415, 422})
_KEPT = "the report is kept and goes first the next time"


class Exchange:
    """Delivers reports of one device, in order, and keeps what can't be delivered."""

    def __init__(self, link: Link, device: str, spool: Spool, notice: Notice) -> None:
        self._link = link
        self._device = device
        self._spool = spool
        self._notice = notice

    def deliver(self, report: Report, objects: Mapping[str, bytes]) -> ReportAnswer:
        """Send `report` and whatever of `objects` (by digest) the collector has never seen.

        Raises Unreachable when it was not acknowledged: it is then kept. Raises Refused when the collector
        does not want it; nothing is kept then.
        """
        try:
            self._deliver_kept(objects)
            answer = send_report(self._link, self._device, encode(report))
        except Unreachable as error:
            self._spool.put(report)
            told = f"{error.hint}; {_KEPT}".lstrip("; ")
            wait_s = error.retry_after_s if isinstance(error, Later) else None
            raise Later(error.message, told, wait_s) from None
        self._upload(answer.missing, objects)
        return answer

    def _deliver_kept(self, objects: Mapping[str, bytes]) -> None:
        for kept in self._spool.all():
            try:
                answer = send_report(self._link, self._device, self._spool.body(kept))
            except Refused as refused:
                if refused.status not in _NEVER:
                    raise
                self._notice(f"the kept report {kept.seq} was refused and is dropped: {refused.message}")
            else:
                self._notice(f"the kept report {kept.seq} of {kept.captured_at} is delivered")
                self._upload(answer.missing, objects)
            self._spool.drop(kept)

    def _upload(self, missing: list[str], objects: Mapping[str, bytes]) -> None:
        """Send what is missing and at hand; each object once, however often it is asked for."""
        wanted, sent = list(missing), set[str]()
        try:
            while wanted:
                name = wanted.pop()
                if name not in objects or name in sent:
                    continue
                sent.add(name)
                wanted += send_object(self._link, objects[name]).missing
        except (Unreachable, Refused) as error:
            # The report itself is acknowledged; the collector asks again for what it still misses.
            self._notice(f"not everything that the collector asked for was taken: {error.message}")
