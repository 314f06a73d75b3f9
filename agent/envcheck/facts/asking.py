"""Ask the target interpreter what it is and what it would import. The question is `probe.py`, sent as text.

Light on purpose: the question is on its way before the rest of the agent is imported.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence

from envcheck.facts.host import Host, Target
from envcheck.facts.process import Ended

# Of the time left, what the interpreter may take: sections that wait for it have some left to say so.
_SHARE = 0.9
# The sections that need the answer; without them nobody is asked.
ASKING_SECTIONS = frozenset({"python", "packages", "onnxruntime", "cuda"})


class Asking:
    """The question to one interpreter, asked once and at once; `deadline` is in monotonic seconds.

    Nobody is asked when the target names no interpreter or none of `sections` needs the answer.
    """

    def __init__(self, target: Target, host: Host, deadline: float, sections: Sequence[str]) -> None:
        self.deadline = deadline
        self._target, self._host = target, host
        self._ended: Ended | None = None
        self._thread = threading.Thread(target=self._run, name="interpreter", daemon=True)
        if target.python and not ASKING_SECTIONS.isdisjoint(sections):
            self._thread.start()

    @property
    def asked(self) -> bool:
        """Whether there is an interpreter to ask."""
        return bool(self._target.python)

    def wait(self) -> Ended | None:
        """Return how the probe ended; None when it did not before the deadline."""
        self._thread.join(max(0.0, self.deadline - time.monotonic()))
        return self._ended

    def _run(self) -> None:
        target, stdin, environ = self._target, None, self._target.starting(self._host)
        if target.unasked:
            from envcheck.facts.tree import known

            # Whatever is read may hang (a network mount), so a process of its own reads it as well.
            order = known(target, self._host)
            command = [sys.executable, "-I", "-S", "-B", "-c", probe_source(), more_source(), order]
            environ = dict(self._host.environ)
        elif target.container:
            command, stdin = target.command("-B", "-", more_source()), probe_source().encode("ascii")
        else:
            command = target.command("-B", "-c", probe_source(), more_source())
        left = max(0.05, (self.deadline - time.monotonic()) * _SHARE)
        self._ended = self._host.run(command, environ=environ, deadline_s=left, stdin=stdin)


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
    with open(os.path.join(os.path.dirname(__file__), name), encoding="ascii") as file:  # noqa: PTH118, PTH120, PTH123 the hot path
        return file.read()
