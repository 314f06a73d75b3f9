"""Reads the raw outputs that a child left behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envcheck.errors import Undetermined
from envcheck.smoke.arrays import numpy
from envcheck.smoke.job import ChildRun, SavedRun

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_NAME = re.compile(r"[0-9]+(-[0-9]+){3}\.npy")


def load_run(run: ChildRun, saved: SavedRun) -> dict[str, Array]:
    """Return the outputs of one run by name, as numpy arrays in the child's own types (strings as text).

    Raises Undetermined when a file is not there or not an array: the child wrote it, so something
    interfered.
    """
    return {name: _load(run, name, output.file) for name, output in saved.outputs.items()}


def _load(run: ChildRun, output: str, file: str) -> Array:
    np = numpy()
    problem = "the child named it badly"
    if _NAME.fullmatch(file):
        try:
            array: Array = np.load(run.outputs / file, allow_pickle=False)
            return array
        except (OSError, ValueError, EOFError) as error:
            problem = str(error)
    raise Undetermined(
        f"the raw output {output!r} of the smoke process can't be read: {problem[:200]}",
        "run it again; see that nothing else cleans the temporary directory meanwhile",
    )
