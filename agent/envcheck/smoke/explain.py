"""Says how a smoke process ended, in words that are the same on every device of one image.

Pure: what was seen of the process in, an `Ending` out. Texts enter the evidence's digest, so they hold no
directories, addresses or process ids.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

import msgspec

from envcheck.contract.evidence import Ending, EndingStatus
from envcheck.smoke.explain_failure import LESS_MEMORY, explain_failure, out_of_memory
from envcheck.smoke.explain_text import innermost_call, last_line, python_stack, scrub
from envcheck.smoke.job import ChildResult


@dataclass(frozen=True)
class Exit:
    """What was seen of a process from outside.

    `status` is negative for a signal, None when the process never started; `stage` the last line that the
    child announced; `fault` what faulthandler wrote; `oom_killed` whether the kernel's count of
    out-of-memory kills rose meanwhile, None where it can't be read.
    """

    status: int | None
    timed_out: bool
    deadline_s: float
    stage: str = ""
    stderr: str = ""
    fault: str = ""
    oom_killed: bool | None = None

    @property
    def signal(self) -> int | None:
        """The signal that ended the process; a shell in between adds 128 to it."""
        if self.status is None:
            return None
        if self.status < 0:
            return -self.status
        return self.status - 128 if self.status - 128 in set(signal.Signals) else None


def explain(how: Exit, result: ChildResult | None) -> Ending:
    """Return the ending of a child that was seen to end like `how` and left `result`."""
    limit = _tight(how, result)
    if how.timed_out:
        return _timeout(how) if limit is None else _too_tight(how, limit, signal.SIGKILL)
    if result is not None and result.done and how.status == 0:
        return Ending(status="ok", stage="done")
    if result is not None and result.failure is not None:
        return _with_limit(explain_failure(result.failure, result, _stage(how)), result)
    if limit is not None and how.signal not in (signal.SIGKILL, signal.SIGXCPU):
        return _too_tight(how, limit, how.signal)
    if how.signal is not None:
        return _crash(how, how.signal)
    return _unexplained(how)


_LIMITS = "--memory or smoke_memory_mib, `ulimit -v`, or LimitAS= of a unit"


def _too_tight(how: Exit, limit: int, number: int | None) -> Ending:
    """A library that gets no memory for its threads crashes, gives up, or waits for them for ever."""
    how_it_was = f"stopped after {how.deadline_s:g} s" if how.timed_out else "ended"
    reason = (
        f"{how_it_was} at the stage {how.stage!r} with an address space of {limit} MiB: too little for it"
    )
    return _ending(how, "memory", number, reason, f"raise the limit: {_LIMITS}")


def _with_limit(ending: Ending, result: ChildResult) -> Ending:
    """Say of what wanted memory how much it was allowed: a limit is sooner raised than a device is bought."""
    if ending.status != "memory" or result.address_space_mb is None:
        return ending
    reason = f"{ending.reason}, with an address space of {result.address_space_mb} MiB"
    hint = f"raise the limit ({_LIMITS}), or use a smaller model or batch"
    return msgspec.structs.replace(ending, reason=reason, hint=hint)


def _tight(how: Exit, result: ChildResult | None) -> int | None:
    """Return the limit of the address space when libraries hardly fit: they crash there in many ways."""
    if result is None or result.address_space_mb is None:
        return None
    if _stage(how) in ("start", "import"):
        return result.address_space_mb if result.address_space_mb < _TIGHT_MB else None
    taken = result.address_space_peak_mb
    crashed = how.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
    tight = taken is not None and result.address_space_mb - taken < _ROOM_MB
    return result.address_space_mb if crashed and tight else None


# What Python, numpy and onnxruntime map while they are imported, with their threads, is less than this.
_TIGHT_MB = 1024
# What is taken of it in one piece: glibc maps 128 MiB for a thread that allocates, and gives half back.
_ROOM_MB = 128


def _stage(how: Exit) -> str:
    """The stage's own word: what follows it in the line is which session."""
    return how.stage.partition(" ")[0] or "start"


def _timeout(how: Exit) -> Ending:
    return Ending(
        status="timeout",
        stage=_stage(how),
        signal=int(signal.SIGKILL),
        reason=f"still at the stage {how.stage or 'start'!r} after {how.deadline_s:g} s, and was stopped",
        hint="if the model only needs longer here, give it more time: --deadline SECONDS",
    )


_CRASHES: dict[int, tuple[str, str]] = {
    signal.SIGILL: (
        "an illegal instruction",
        "a library was built for instructions that this CPU lacks: install a build for this CPU",
    ),
    signal.SIGSEGV: ("a segmentation fault", ""),
    signal.SIGBUS: ("a bus error", "a library or the model may be damaged on disk, or memory is exhausted"),
    signal.SIGFPE: ("an arithmetic exception", ""),
    signal.SIGABRT: ("an abort by a native library", ""),
    signal.SIGSYS: (
        "a refused system call",
        "the sandbox that the model runs in forbids what a library needs",
    ),
    signal.SIGTRAP: ("a trap in a native library", ""),
}


def _crash(how: Exit, number: int) -> Ending:
    if number == signal.SIGKILL:
        return _killed(how)
    if number == signal.SIGXCPU:
        reason = f"used more CPU time than allowed at the stage {how.stage!r}"
        return Ending(status="timeout", stage=_stage(how), signal=number, reason=reason)
    if number == signal.SIGABRT and out_of_memory(how.stderr):
        return _ending(how, "memory", number, f"ran out of memory at the stage {how.stage!r}", LESS_MEMORY)
    what, hint = _CRASHES.get(number, (f"signal {signal.Signals(number).name}", ""))
    reason = f"ended by {what} at the stage {how.stage or 'start'!r}"
    call = innermost_call(how.fault)
    if call:
        reason += f", in {call}"
    ending = _ending(how, "crash", number, reason, hint or _OTHER_BUILD)
    return msgspec.structs.replace(ending, stack=python_stack(how.fault))


_OTHER_BUILD = "try another version of the library, or of what it was built for, on this device"


def _killed(how: Exit) -> Ending:
    if how.oom_killed:
        reason = f"killed by the kernel at the stage {how.stage!r}: out of memory"
        return _ending(how, "memory", int(signal.SIGKILL), reason, LESS_MEMORY)
    reason = f"killed from outside (SIGKILL) at the stage {how.stage or 'start'!r}"
    hint = (
        "something else on this device kills processes"
        if how.oom_killed is False
        else "perhaps out of memory: this machine does not tell; look in the kernel's log"
    )
    return _ending(how, "crash", int(signal.SIGKILL), reason, hint)


def _unexplained(how: Exit) -> Ending:
    said = last_line(how.stderr)
    told = f": {said}" if said else ""
    if not how.stage:
        reason = f"the interpreter ended with status {how.status} before it ran anything{told}"
        return _ending(how, "error", None, reason, "check that --python names a working Python 3.8 or later")
    if out_of_memory(how.stderr):
        return _ending(
            how, "memory", None, f"ran out of memory at the stage {how.stage!r}{told}", LESS_MEMORY
        )
    reason = f"the interpreter ended with status {how.status} at the stage {how.stage!r}{told}"
    return _ending(how, "error", None, reason, "")


def _ending(how: Exit, status: EndingStatus, number: int | None, reason: str, hint: str) -> Ending:
    return Ending(status=status, stage=_stage(how), signal=number, reason=scrub(reason), hint=hint)
