"""Reference timings: what the model took on devices of other classes, from documents of `envcheck smoke`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envcheck.contract.document import decode
from envcheck.contract.evidence import Smoke, SmokeReadings
from envcheck.errors import BadInput

_AGAIN = "measure it on the device: envcheck smoke BUNDLE -o SMOKE.json"


@dataclass(frozen=True)
class Timed:
    """One smoke document: its bytes, and what to call it in errors."""

    data: bytes
    name: str


def read_timings(
    documents: Sequence[Timed], model: str, notice: Callable[[str], None]
) -> dict[str, SmokeReadings]:
    """Return the readings by device class; `model` is the digest of the model file that they must be of.

    `notice` is told of timings that say little. Raises BadInput naming the file: no smoke document, of
    another model, without an end in good order, timings or a class, or of a class that another file has.
    """
    found: dict[str, SmokeReadings] = {}
    names: dict[str, str] = {}
    for document in documents:
        smoke = decode(document.data, Smoke, document.name, notice)
        _check(smoke, model, document.name)
        kind = smoke.device_class
        if kind in names:
            raise BadInput(
                f"{names[kind]} and {document.name} are both of the device class {kind!r}", "give one of them"
            )
        names[kind], found[kind] = document.name, smoke.readings
        if smoke.readings.throttled or smoke.readings.starved:
            notice(f"{document.name}: the device was throttled meanwhile, so that these timings say little")
    return found


def _check(smoke: Smoke, model: str, name: str) -> None:
    if not smoke.model or not smoke.device_class:
        what = "which model it ran" if not smoke.model else "what device it was measured on"
        raise BadInput(f"{name} does not say {what}", _AGAIN)
    if smoke.model != model:
        raise BadInput(
            f"{name} was measured with another model ({smoke.release}, sha256 {smoke.model[:12]}...)", _AGAIN
        )
    if smoke.evidence.ending.status != "ok":
        raise BadInput(f"{name} tells of a run that did not end well: {smoke.evidence.ending.reason}", _AGAIN)
    if smoke.readings.latency is None:
        raise BadInput(f"{name} holds no latencies", _AGAIN)
