"""Arrays as npz bytes that depend on the arrays alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from envcheck.smoke.arrays import numpy

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_DATE = (1980, 1, 1, 0, 0, 0)


def write_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return an npz of `arrays` sorted by name, stored: equal arrays make equal bytes on every machine.

    `numpy.savez` would write the time of day, and how well zlib compresses depends on its version.
    """
    np = numpy()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            ordered = np.asarray(array, order="C")
            np.lib.format.write_array(
                content, ordered.astype(ordered.dtype.newbyteorder("<")), allow_pickle=False
            )
            file.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), content.getvalue())
    return archive.getvalue()
