"""Files that a person named: whole or not at all, and nothing but a file is ever replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from envcheck.transport.files import write_named


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "gate.xml"
    for data in (b"old", b"new"):
        write_named(path, data)
        assert path.read_bytes() == data
    assert [one.name for one in tmp_path.iterdir()] == ["gate.xml"]


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "kept" / "gate.xml", tmp_path / "gate.xml"
    target.parent.mkdir()
    link.symlink_to(target)
    for data in (b"not there yet", b"there"):
        write_named(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_named(pipe, b"the answer")
    reader.join(20)
    assert read == [b"the answer"]
    assert pipe.is_fifo()


def test_standard_output_by_its_name_is_written_behind_what_is_there(tmp_path: Path) -> None:
    code = "from pathlib import Path; from envcheck.transport.files import write_named as w; "
    code += "print('before', flush=True); w(Path('/dev/stdout'), b'answer\\n')"
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True, timeout=60)
    assert (tmp_path / "log").read_text() == "before\nanswer\n"


def test_a_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        write_named(tmp_path, b"x")
    assert list(tmp_path.iterdir()) == []
