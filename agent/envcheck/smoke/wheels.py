"""Which onnxruntime a Python can have: what to install where it is missing or too old."""

from __future__ import annotations

import re

# The last onnxruntime with wheels for each Python that it no longer serves; later Pythons get the newest.
_LAST = {(3, 8): "1.19.2", (3, 9): "1.19.2", (3, 10): "1.23.2"}
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
    last = _last(package, version)
    pinned = f"'{package}=={last}'" if last else package
    newest = f" (the newest for Python {_named(version)})" if last else ""
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


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _last(package: str, version: tuple[int, int] | None) -> str | None:
    return _LAST.get(version) if package == "onnxruntime" and version is not None else None


def _minor(python: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", python)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _named(version: tuple[int, int] | None) -> str:
    return "this" if version is None else f"{version[0]}.{version[1]}"
