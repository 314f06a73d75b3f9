"""Which versions a Python can have: the wheels that there are for it on Linux."""

from __future__ import annotations

import re

from envcheck.contract.wheels import NUMPY, ONNXRUNTIME, Minor

_WHEELS = {"onnxruntime": ONNXRUNTIME, "onnxruntime-gpu": ONNXRUNTIME, "numpy": NUMPY}


def install_hint(package: str, wanted: str, python: str) -> str:
    """Say how the version `wanted` of `package` gets to the interpreter of version `python`.

    Where that Python can't have it, say which can, and what this one can have instead.
    """
    if can_have(package, wanted, python):
        return f"pip install {package}=={wanted}"
    oldest, newest = _WHEELS[package][_minor(python)]
    pythons = pythons_for(package, wanted)
    serve = f"serve the model with Python {pythons}: " if pythons else ""
    if not oldest or _key(wanted) < _key(oldest):
        instead = f"has none older than {package} {oldest}"
    else:
        instead = f"can have {package} {newest} at most"
    return f"{serve}Python {_dotted(_minor(python))} {instead}"


def can_have(package: str, wanted: str, python: str) -> bool:
    """Tell whether a wheel of that version is there for that Python; True where nobody knows."""
    known = _WHEELS.get(package, {}).get(_minor(python))
    if known is None or not re.match(r"\d", wanted):
        return True
    oldest, newest = known
    return _key(oldest) <= _key(wanted) and (not newest or _key(wanted) <= _key(newest))


def pythons_for(package: str, wanted: str) -> str:
    """Name the Pythons that have a wheel of that version, "" when none is known: `3.11 to 3.14`."""
    having = [minor for minor in _WHEELS.get(package, {}) if can_have(package, wanted, _dotted(minor))]
    if not having:
        return ""
    first, last = _dotted(having[0]), _dotted(having[-1])
    return first if first == last else f"{first} to {last}"


def pythons_since(package: str, oldest: str, python: str) -> str:
    """Name the Pythons that have a wheel of that version or a newer one: `3.10 or newer`.

    Empty when `python` is one of them, or nobody knows.
    """
    newest = {minor: versions[1] for minor, versions in _WHEELS.get(package, {}).items()}
    having = [minor for minor, last in newest.items() if not last or _key(oldest) <= _key(last)]
    if _minor(python) not in newest or _minor(python) in having or not having:
        return ""
    return f"{_dotted(having[0])} or newer"


def _minor(python: str) -> Minor:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", python)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,6}", version.partition("+")[0])[:4])


def _dotted(minor: Minor) -> str:
    return f"{minor[0]}.{minor[1]}"
