"""Models that are not one file of at most 2 GB: what is wrong with them, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from envcheck.errors import BadInput

# What one protobuf message, and so one ONNX file, can hold.
MAX_MODEL = 2**31 - 1
_SMALLER = "quantise it, or export it in half precision or in parts: larger models are not supported"


def too_large(name: str) -> BadInput:
    """Refuse a file that no ONNX model can be."""
    return BadInput(f"{name} is larger than 2 GB, which no ONNX file can be", _SMALLER)


def refuse_external(name: str, size: int, places: Sequence[str], folder: Path | None) -> BadInput:
    """Say why a model whose weights lie at `places` is refused; nothing there is opened.

    `size` is that of the model in bytes, `folder` the directory it lies in. A place outside of that is
    told as such: no tool should load it.
    """
    for place in places:
        if outside := _outside(place, folder):
            return BadInput(
                f"{name} keeps weights at {place[:200]!r}, {outside}: refused before anything is loaded",
                "load it nowhere unless you made it; export it again with its weights in the file itself",
            )
    whole = size + sum(_size(place, folder) for place in places)
    first = repr(places[0][:200])
    if whole > MAX_MODEL:
        return BadInput(
            f"{name} with its weights in {first} is {whole / 1e9:.1f} GB; one ONNX file holds 2 GB", _SMALLER
        )
    return BadInput(
        f"{name} keeps weights in another file: {first}",
        "a bundle, and so a device, holds the model as one file: "
        f"python -c \"import onnx; onnx.save(onnx.load({name!r}), 'one-file.onnx')\", "
        "or torch.onnx.export(..., external_data=False)",
    )


def _outside(place: str, folder: Path | None) -> str:
    """Say how a place leaves the model's directory, "" when it does not."""
    posix, windows = PurePosixPath(place), PureWindowsPath(place)
    if posix.is_absolute() or windows.drive or windows.root:
        return "an absolute path"
    if ".." in (*posix.parts, *windows.parts):
        return "outside of its directory"
    if folder is None:
        return ""
    try:
        real, home = (folder / place).resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return "no path"
    return "" if real.is_relative_to(home) else "a link out of its directory"


def _size(place: str, folder: Path | None) -> int:
    try:
        return (folder / place).stat().st_size if folder is not None else 0
    except (OSError, ValueError):
        return 0
