"""Which onnxruntime a Python can have: what to install where it is missing or too old."""

from __future__ import annotations

import re

from envcheck.contract.wheels import ONNXRUNTIME

# The last onnxruntime with wheels for each Python that it no longer serves; later Pythons get the newest.
_LAST = {minor: newest for minor, (_, newest) in ONNXRUNTIME.items() if newest}
# What the wheels' tags say: the oldest glibc, the last release that is content with it, its last Python.
_OF_GLIBC = (((2, 28), "", (9, 9)), ((2, 27), "1.23.2", (3, 13)), ((2, 17), "1.16.3", (3, 11)))
_NEWEST = (3, 11)
_OLDEST = (3, 8)
_MACHINES = ("x86_64", "aarch64", "amd64", "arm64")


def install_hint(package: str, python: str, platform: str) -> str:
    """Say how the interpreter of version `python` on `platform` (machine-libc) gets the package."""
    version = _minor(python)
    if version is not None and version < _OLDEST:
        return f"Python {python} is too old for any onnxruntime that envcheck supports: use 3.8 or later"
    machine, _, libc = platform.partition("-")
    if package == "onnxruntime" and platform and (machine not in _MACHINES or libc == "musl"):
        return f"there is no onnxruntime wheel for {machine} with {libc or 'this C library'}: build it there"
    last, why = _last(package, version), f"Python {_named(version)}"
    old = _of_glibc(libc) if package == "onnxruntime" else None
    if old is not None and version is not None and (not old[0] or version > old[1]):
        newer = "use a newer system image, or an older Python"
        return f"there is no onnxruntime wheel for {why} with {libc}: {newer}"
    if old is not None and (last is None or _parts(old[0]) < _parts(last)):
        last, why = old[0], libc
    pinned = f"'{package}=={last}'" if last else package
    newest = f" (the newest for {why})" if last else ""
    return f"install it there: python -m pip install {pinned}{newest}"


def newest_hint(package: str, python: str, installed: str) -> str:
    """Say how a newer version of the package gets there, or that this Python can have none."""
    version = _minor(python)
    last = _last(package, version)
    if last is not None and installed == last:
        return f"Python {_named(version)} can have no newer {package} than {last}: use a newer Python"
    return f"install a newer {package} there (at most {last})" if last else f"install a newer {package} there"


def first_hint(package: str, python: str, needed: str) -> str:
    """Say how the package gets there in the version `needed` or later, if this Python can have that."""
    version = _minor(python)
    last = _last(package, version)
    if last is None or _parts(last) >= _parts(needed):
        return f"install it there: python -m pip install '{package}>={needed}'"
    fitting = next((each for each in sorted(_LAST) if _parts(_LAST[each]) >= _parts(needed)), _NEWEST)
    return f"Python {_named(version)} can have {last} at most: use Python {_named(fitting)} or later"


def _of_glibc(libc: str) -> tuple[str, tuple[int, int]] | None:
    """The last release for an old glibc and its last Python; None where any will do, "" where none does."""
    found = re.fullmatch(r"glibc(\d+)\.(\d+)", libc)
    if found is None:
        return None
    for oldest, last, python in _OF_GLIBC:
        if (int(found[1]), int(found[2])) >= oldest:
            return (last, python) if last else None
    return "", (0, 0)


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _last(package: str, version: tuple[int, int] | None) -> str | None:
    return _LAST.get(version) if package == "onnxruntime" and version is not None else None


def _minor(python: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", python)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _named(version: tuple[int, int] | None) -> str:
    return "this" if version is None else f"{version[0]}.{version[1]}"
