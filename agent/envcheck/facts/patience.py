"""Do what may hang for ever (a file on a network mount that does not answer) and wait only so long."""

# Not `threading`: it takes a millisecond to import before the interpreter is asked.

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Found = TypeVar("Found")


def within(seconds: float, work: Callable[[], Found]) -> Found:
    """Return what `work` returns, or raise what it raises; TimeoutError after `seconds`.

    Then it is left behind in its thread, which ends with this process at the latest.
    """
    ended = _thread.allocate_lock()
    ended.acquire()
    found: list[Found] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 raised again where it is waited for
            raised.append(error)
        finally:
            ended.release()

    _thread.start_new_thread(run, ())
    if not ended.acquire(timeout=max(0.0, seconds)):
        raise TimeoutError
    if raised:
        raise raised[0]
    return found[0]
