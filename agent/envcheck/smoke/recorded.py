"""Recorded inputs: a directory of npz files, each held to both models that are to run on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envcheck.contract.baseline import Graph
from envcheck.errors import BadInput
from envcheck.smoke.inputs import Batching, check_inputs
from envcheck.smoke.npz import MAX_BYTES, read_headers

MAX_FILES = 512
_RECORD = "record what the model in service was asked: numpy.savez('DIR/0001.npz', NAME=array)"
_MERGE = "choose some, or put many samples into one file"


@dataclass(frozen=True)
class Recording:
    """One file of inputs, and how it goes through each model (by the model's release)."""

    path: Path
    data: bytes
    batchings: Mapping[str, Batching]


def read_recordings(directory: Path, graphs: Mapping[str, Graph]) -> list[Recording]:
    """Read every .npz of `directory`, in the order of their names; `graphs` are the models by release.

    Raises BadInput that names the file and the model: none there, too many, no npz, or inputs that do not
    fit every one of the models.
    """
    _check_names(graphs)
    return [_read(path, graphs) for path in _files(directory)]


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "does not exist"
        raise BadInput(f"{directory} {what}", "give a directory of recorded inputs: --inputs DIR")
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix == ".npz")
        size = sum(path.stat().st_size for path in files)
    except OSError as error:
        raise BadInput(f"{directory} can't be read: {error.strerror}") from None
    if not files:
        raise BadInput(f"{directory} holds no .npz file", _RECORD)
    if len(files) > MAX_FILES:
        raise BadInput(f"{directory} holds {len(files)} .npz files, more than {MAX_FILES}", _MERGE)
    if size > MAX_BYTES:
        raise BadInput(f"{directory} holds {size >> 20} MB of inputs, more than {MAX_BYTES >> 20} MB", _MERGE)
    return files


def _read(path: Path, graphs: Mapping[str, Graph]) -> Recording:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from None
    headers = read_headers(data, str(path))
    batchings: dict[str, Batching] = {}
    refused: dict[str, BadInput] = {}
    for release, graph in graphs.items():
        try:
            batchings[release] = check_inputs(headers, graph.inputs, str(path))
        except BadInput as error:
            refused[release] = error
    for release, reason in refused.items():
        taken = f"; {next(iter(batchings))} takes this file" if batchings else ""
        raise BadInput(f"{reason.message} ({release}{taken})", reason.hint)
    if any(batching.samples == 0 for batching in batchings.values()):
        raise BadInput(f"{path} holds no sample", "remove it")
    return Recording(path, data, batchings)


def _check_names(graphs: Mapping[str, Graph]) -> None:
    wanted = {release: sorted(spec.name for spec in graph.inputs) for release, graph in graphs.items()}
    if len({tuple(names) for names in wanted.values()}) > 1:
        told = "; ".join(f"{release} wants {', '.join(names)}" for release, names in wanted.items())
        raise BadInput(
            f"the models take different inputs: {told}",
            "only models with inputs of the same names can run on the same recordings",
        )
