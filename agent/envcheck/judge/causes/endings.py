"""Why a run did not come to its end: instructions, memory, opsets, wheels that do not fit together."""

from __future__ import annotations

import re

from envcheck.contract.evidence import Ending
from envcheck.contract.opsets import needed, oldest_for, supported, too_new
from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause
from envcheck.judge.comparison import Situation
from envcheck.judge.facts_of import minor_of, number, some, text, texts
from envcheck.judge.wheels import can_have, install_hint, pythons_since

_SIGILL = 4
_MB_PER_MIB = 1.048576
_DAMAGED = re.compile(
    r"cannot import name|No module named|partially initialized|import numpy failed|undefined symbol"
)
# onnxruntime was built for numpy 1 up to here.
_FIRST_FOR_NUMPY_2 = (1, 19)


def illegal_instruction(finding: Finding, situation: Situation) -> Cause | None:
    """A library ran an instruction that this CPU, or its emulator, does not have."""
    ending = _ending(finding, situation)
    if ending is None or ending.signal != _SIGILL:
        return None
    lacking = _lacking(situation)
    hint = (
        f"install a build of onnxruntime for this CPU, or choose devices with {some(lacking, 4)}"
        if lacking
        else "install another version of onnxruntime here: its build needs what this CPU does not have"
    )
    if lacking:
        return Cause(f"an instruction set is missing: this CPU has no {some(lacking)}, training's has", hint)
    return Cause(
        "an instruction set is missing: a library uses one that this CPU refuses, though its flags tell all "
        "that training's had (a masked or emulated CPU?)",
        hint,
    )


def memory(finding: Finding, situation: Situation) -> Cause | None:
    """The device gives less memory than the model needed in training."""
    ending = _ending(finding, situation)
    if ending is None or ending.status != "memory":
        return None
    needs = situation.reference.baseline.readings.peak_memory_mb
    given = available_mib(situation)
    told = (
        f"the model needed {needs:.0f} MB in training" if needs else "the model needs more than it was given"
    )
    if given is None or not needs or given * _MB_PER_MIB < needs:
        told += f", and this device gives {given:.0f} MiB" if given is not None else ""
        return Cause(f"memory does not suffice: {told}")
    return Cause(
        f"memory does not suffice, though training needed {needs:.0f} MB and this device gives {given:.0f} "
        "MiB: another model asks for more, or the process is limited to less",
        "is the model here the one that was released? does ulimit -v limit its process?",
    )


def available_mib(situation: Situation) -> float | None:
    """Return the least of what memory and limits give, in MiB; None when nothing is known."""
    paths = ("memory.total_mib", "memory.limit_mib", "variables.unit.memory_mib")
    return min(
        (found for path in paths if (found := number(situation.device, path)) is not None), default=None
    )


def opset(finding: Finding, situation: Situation) -> Cause | None:
    """The model is of a newer opset or IR version than the device's onnxruntime knows."""
    ending = _ending(finding, situation)
    if ending is None or ending.status != "error" or ending.stage != "session":
        return None
    return opset_cause(situation)


def opset_cause(situation: Situation) -> Cause | None:
    """Say that the device's onnxruntime can't load the model, and which could; None when it can."""
    here = _onnxruntime(situation)
    graph = situation.reference.baseline.graph
    words = too_new(graph, here)
    if not words:
        return None
    oldest, python = oldest_for(graph), _python(situation)
    can = supported(here)
    lower = f"export the model with opset {can.opset}" if can and needed(graph).opset > can.opset else ""
    pythons = pythons_since("onnxruntime", oldest, python)
    if pythons:
        newer = f"Python {minor_of(python)} can have none that does: serve with Python {pythons}"
    else:
        newer = f"pip install 'onnxruntime>={oldest}'" if oldest else "install the newest onnxruntime"
    return Cause(words, f"{newer}, or {lower}" if lower else newer)


def numpy_abi(finding: Finding, situation: Situation) -> Cause | None:
    """An onnxruntime that was built for numpy 1 beside numpy 2."""
    ending = _ending(finding, situation)
    numpy = _version(text(situation.device, "packages.numpy.version") or _runtime(situation, "numpy"))
    here = _version(_onnxruntime(situation))
    if ending is None or ending.status not in ("error", "crash") or numpy is None or here is None:
        return None
    if not (numpy[0] >= 2 and here < _FIRST_FOR_NUMPY_2):
        return None
    return Cause(
        f"onnxruntime {here[0]}.{here[1]} was built for numpy 1, and numpy {numpy[0]}.{numpy[1]} is there",
        "pip install 'numpy<2', or onnxruntime 1.19 or newer",
    )


def no_wheel(finding: Finding, situation: Situation) -> Cause | None:
    """The interpreter has no onnxruntime, and perhaps can't have the one of training."""
    section = situation.device.sections.get("onnxruntime")
    ending = _ending(finding, situation)
    if ending is None or ending.status != "error" or section is None or section.status != "absent":
        return None
    wanted = text(situation.reference.training, "onnxruntime.version")
    wanted = wanted or situation.reference.baseline.evidence.runtime.onnxruntime
    python = _python(situation)
    if not wanted or can_have("onnxruntime", wanted, python):
        return None
    return Cause(
        f"Python {minor_of(python)} can't have onnxruntime {wanted}, which training had",
        install_hint("onnxruntime", wanted, python),
    )


def damaged(finding: Finding, situation: Situation) -> Cause | None:
    """It is installed, and can't be imported: files of it are missing or do not belong together."""
    ending = _ending(finding, situation)
    here = _onnxruntime(situation)
    if ending is None or ending.stage not in ("start", "import") or not here:
        return None
    if not _DAMAGED.search(ending.reason):
        return None
    broken = "numpy" if "numpy" in ending.reason else "onnxruntime"
    version = text(situation.device, f"packages.{broken}.version") or here
    return Cause(
        f"{broken} {version} is installed, but not whole: files of it are missing or are another version's",
        f"pip install --force-reinstall --no-deps {broken}=={version}",
    )


def older(finding: Finding, situation: Situation) -> Cause | None:
    """The session could not be made, and this onnxruntime is older than the one that made it in training."""
    ending = _ending(finding, situation)
    there = situation.reference.baseline.evidence.runtime.onnxruntime
    ours, theirs = _version(_onnxruntime(situation)), _version(there)
    if ending is None or ending.status != "error" or ending.stage not in ("session", "run"):
        return None
    if ours is None or theirs is None or ours >= theirs:
        return None
    return Cause(
        f"onnxruntime {_onnxruntime(situation)} does not run what {there} ran in training",
        install_hint("onnxruntime", there, _python(situation)),
    )


def starved(finding: Finding, situation: Situation) -> Cause | None:
    """It did not end in time, and the control group grants less than one CPU."""
    ending = _ending(finding, situation)
    quotas = [number(situation.device, path) for path in ("cpu.quota", "variables.unit.cpu_quota")]
    quota = min((found for found in quotas if found is not None), default=None)
    if ending is None or ending.status != "timeout" or quota is None or quota >= 1:
        return None
    return Cause(
        f"the control group grants {quota:g} of a CPU",
        "raise the quota (CPUQuota= in the unit, --cpus of the container), or the deadline",
    )


def _ending(finding: Finding, situation: Situation) -> Ending | None:
    ended = situation.ended
    return ended.ending if finding.path == "evidence.ending" and ended is not None else None


def _lacking(situation: Situation) -> list[str]:
    """Name what training's CPU has and this one lacks: as the process saw it, else by facts."""
    here = situation.ended.runtime.cpu_features if situation.ended is not None else []
    there = situation.reference.baseline.evidence.runtime.cpu_features
    if here and there:
        return sorted(set(there) - set(here))
    facts = [texts(side, "cpu.isa") for side in (situation.reference.training, situation.device)]
    return sorted(set(facts[0]) - set(facts[1])) if facts[1] else []


def _onnxruntime(situation: Situation) -> str:
    version = _runtime(situation, "onnxruntime") or text(situation.device, "onnxruntime.version")
    return version or text(situation.device, "packages.onnxruntime.version")


def _python(situation: Situation) -> str:
    return text(situation.device, "python.version") or _runtime(situation, "python")


def _runtime(situation: Situation, name: str) -> str:
    measured = situation.evidence or situation.ended
    return str(getattr(measured.runtime, name)) if measured is not None else ""


def _version(value: str) -> tuple[int, int] | None:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", value)
    return (int(found[1]), int(found[2])) if found else None
