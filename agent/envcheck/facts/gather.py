"""Gather sections: each in a thread of its own, so that one that hangs or fails costs no other its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from envcheck import __version__
from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, Section, make_fingerprint
from envcheck.errors import BadInput
from envcheck.facts.asking import ASKING_SECTIONS, Asking
from envcheck.facts.host import Host, Target

if TYPE_CHECKING:
    from envcheck.facts.interpreter import Interpreter
    from envcheck.facts.section import Gather, Scene

DEADLINE_S = 20.0
# A section gets this share of the whole deadline before the next one is begun; it goes on beside it.
_PATIENCE = 1 / 20
_SILENT = "the interpreter's files do not answer: do they lie on a network mount that hangs?"


def capture(
    target: Target,
    *,
    host: Host | None = None,
    sections: Sequence[str] = SECTION_NAMES,
    deadline_s: float = DEADLINE_S,
    asking: Asking | None = None,
    verify: bool = False,
) -> Fingerprint:
    """Describe the environment that serves the model; reads only, takes at most about `deadline_s`.

    Every section asked for is in the answer, with its status and, unless that is ok, a reason. Sections
    not asked for are left out. `asking` is the question to the interpreter when it is already on its
    way. `verify` hashes all installed files as well, which takes seconds. Raises BadInput for a section that
    does not exist.
    """
    host = host or Host()
    deadline = time.monotonic() + deadline_s
    told = _Told(asking or Asking(target, host, deadline, sections), target)
    # The interpreter takes its time to start: the sections are imported meanwhile.
    from envcheck.facts.section import Scene

    here = target.seen_from(host)
    jobs = [
        _Job(name, gather, Scene(here, target, told.interpreter, deadline, verify=verify))
        for name, gather in _chosen(sections)
    ]
    # Those that need the interpreter's answer come last: it is being asked meanwhile.
    for job in sorted(jobs, key=lambda job: job.name in ASKING_SECTIONS):
        job.start(min(deadline_s * _PATIENCE, deadline - time.monotonic()))
    gathered = {job.name: job.finish(deadline) for job in jobs}
    return make_fingerprint(gathered, _now(), __version__)


class _Told:
    """The interpreter's answer, read once by whoever needs it first."""

    def __init__(self, asking: Asking, target: Target) -> None:
        self._asking, self._silent = asking, target.silent
        self._closed = target.unit.closed if target.unit else ""
        self._lock = threading.Lock()
        self._answer: Interpreter | None = None

    def interpreter(self) -> Interpreter:
        """Wait for the answer; raises Unavailable."""
        from envcheck.facts.interpreter import NoAnswer, read_answer
        from envcheck.facts.section import Unavailable

        if self._closed:
            raise Unavailable("unreadable", self._closed)
        if self._silent:
            raise Unavailable("error", _SILENT)
        if not self._asking.asked:
            raise Unavailable("skipped", "there is no interpreter here that could be asked")
        with self._lock:
            if self._answer is None:
                try:
                    self._answer = read_answer(self._asking.wait())
                except NoAnswer as error:
                    raise Unavailable("error", str(error)) from None
            return self._answer


class _Job:
    """One section being gathered."""

    def __init__(self, name: str, gather: Gather, scene: Scene) -> None:
        self.name = name
        self._gather, self._scene = gather, scene
        self._result: Section | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, patience_s: float) -> None:
        """Begin, and wait for the end a little while."""
        self._thread.start()
        self._thread.join(max(0.0, patience_s))

    def finish(self, deadline: float) -> Section:
        """Return the section, or what is to be said when it did not end in time."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._result or Section(status="error", reason="it did not end before the deadline")

    def _run(self) -> None:
        from envcheck.facts.section import Unavailable

        begun = time.monotonic()
        try:
            found = _inert(self._found())
        except Unavailable as error:
            found = Section(status=error.status, reason=error.reason)
        except Exception as error:  # noqa: BLE001 the failure of one section is a fact like others
            # The text of an exception may hold paths of this device, and reasons enter digests.
            found = Section(status="error", reason=f"it failed with {type(error).__name__}")
        self._result = msgspec.structs.replace(found, duration_ms=round((time.monotonic() - begun) * 1000, 2))

    def _found(self) -> Section:
        target = self._scene.target
        unseen = target.container.unseen(self.name) if target.container else None
        found = unseen or self._gather(self._scene)
        reason = target.withheld.get(self.name)
        if reason is None or found.status != "ok":
            return found
        return msgspec.structs.replace(found, status="unreadable", reason=reason)


def _chosen(names: Sequence[str]) -> list[tuple[str, Gather]]:
    from envcheck.facts.registry import SECTIONS

    known = [name for name, _ in SECTIONS]
    for name in names:
        if name not in known:
            raise BadInput(f"there is no section {name!r}", f"sections are: {', '.join(known)}")
    return [(name, gather) for name, gather in SECTIONS if name in names]


def _inert(section: Section) -> Section:
    """Replace what has no place in JSON: lone surrogates, in which Python hands over undecodable names."""
    try:
        msgspec.json.encode(section)
    except UnicodeEncodeError:
        return msgspec.convert(_replaced(msgspec.to_builtins(section)), Section)
    return section


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    return value


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
