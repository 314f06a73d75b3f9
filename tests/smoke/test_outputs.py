from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envcheck.contract.evidence import Ending
from envcheck.errors import Undetermined
from envcheck.smoke.job import ChildResult, ChildRun, SavedOutput, SavedRun
from envcheck.smoke.outputs import load_run


def saved(directory: Path, file: str) -> tuple[ChildRun, SavedRun]:
    run = ChildRun(Ending(status="ok"), ChildResult(), directory, "", 0.0)
    return run, SavedRun(inputs="golden", repeat=0, outputs={"y": SavedOutput(file=file, dtype="float32")})


def test_what_the_child_saved_is_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "0-0-0-0.npy", np.arange(3))
    assert load_run(*saved(tmp_path, "0-0-0-0.npy"))["y"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("file", ["../0-0-0-0.npy", "/etc/passwd", "0-0-0-9.npy", "", "result.json"])
def test_a_child_can_name_no_file_but_its_outputs(tmp_path: Path, file: str) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="ascii")
    with pytest.raises(Undetermined, match="the raw output 'y' of the smoke process can't be read"):
        load_run(*saved(tmp_path, file))


def test_a_pickle_from_the_child_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "0-0-0-0.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(Undetermined):
        load_run(*saved(tmp_path, "0-0-0-0.npy"))
