"""Ask the target interpreter what it is and what it would import. The question is `probe.py`, sent as text.

Light on purpose: the question is on its way before the rest of the agent is imported.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envcheck.facts.host import Host, Target
    from envcheck.facts.process import Begun, Ended

# Of the time left, what the interpreter may take: sections that wait for it have some left to say so.
_SHARE = 0.9
# The sections that need the answer; without them nobody is asked.
ASKING_SECTIONS = frozenset({"python", "packages", "onnxruntime", "cuda"})

# Runs a source file as `import` would load it: from its compiled form where that is of this very source.
_COMPILED = (
    "import sys, _frozen_importlib_external as loading; "
    "exec(loading.SourceFileLoader('probe', sys.argv.pop(1)).get_code('probe'))"
)


class Asking:
    """The question to one interpreter, asked once and at once; `deadline` is in monotonic seconds.

    Nobody is asked when the target names no interpreter or none of `sections` needs the answer.
    """

    def __init__(self, target: Target, host: Host, deadline: float, sections: Sequence[str]) -> None:
        self.deadline = deadline
        self._target, self._host = target, host
        self._until = time.monotonic() + max(0.05, (deadline - time.monotonic()) * _SHARE)
        self._begun: Begun | None = None
        self._ended: Ended | None = None
        # What has to be read first for a tree may hang (a network mount): that is left to who waits.
        if self.asked and not (target.unasked or target.silent) and not ASKING_SECTIONS.isdisjoint(sections):
            self._begun = self._begin()

    @property
    def asked(self) -> bool:
        """Whether there is an interpreter to ask."""
        return bool(self._target.python)

    def wait(self) -> Ended:
        """Return how the probe ended, killed if need be; for one thread at a time."""
        if self._ended is None:
            begun = self._begun or self._begin()
            self._ended = begun.end(max(0.0, self._until - time.monotonic()))
        return self._ended

    def _begin(self) -> Begun:
        target, begin, environ = self._target, self._host.begin, self._target.starting(self._host)
        if target.unasked:
            from envcheck.facts.tree import known

            # Whatever is read may hang (a network mount), so a process of its own reads it as well.
            order = known(target, target.seen_from(self._host))
            command = [sys.executable, "-I", "-S", "-B", "-c", probe_source(), more_source(), order]
            return begin(command, environ=dict(self._host.environ))
        if target.container:
            source = probe_source().encode("ascii")
            return begin(target.command("-B", "-", more_source()), environ=environ, stdin=source)
        if target.isolated and target.python == sys.executable:
            # The agent's own Python has compiled the probe already; and, isolated, it looks at nothing in the
            # current directory. Of another interpreter, which may be a wrapper, neither is known.
            command = target.command("-B", "-c", _COMPILED, _path("probe.py"), more_source())
            return begin(command, environ=environ, anywhere=True)
        command = target.command("-B", "-c", probe_source(), more_source())
        return begin(command, environ=environ, rights=target.rights)


def probe_source() -> str:
    """Return the text of `probe.py`."""
    return _text("probe.py")


def more_source() -> str:
    """Return the text of `probe_more.py`."""
    return _text("probe_more.py")


def verify_source() -> str:
    """Return the text of `probe_verify.py`."""
    return _text("probe_verify.py")


def _text(name: str) -> str:
    with open(_path(name), encoding="ascii") as file:  # noqa: PTH123 the hot path
        return file.read()


def _path(name: str) -> str:
    return os.path.join(os.path.dirname(__file__), name)  # noqa: PTH118, PTH120 the hot path
