from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.model import read_digest


def test_the_digest_of_the_deployed_model(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x" * 3_000_000)
    wanted = {"status": "ok", "sha256": hashlib.sha256(b"x" * 3_000_000).hexdigest(), "size": 3_000_000}
    assert read_digest(Host(), str(model), 5) == wanted
    with_model = capture(Target(model=str(model)), sections=("variables",))
    assert with_model.sections["variables"].readings == {"model": wanted}
    assert with_model.sections["variables"].device["model"] == str(model)
    # Another model is no other environment.
    assert with_model.digest == capture(Target(), sections=("variables",)).digest


def test_what_is_no_model_that_can_be_read(
    open_folder: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    def status(path: str, left_s: float = 5) -> str:
        return str(read_digest(Host(), path, left_s)["status"])

    assert status(str(open_folder / "no")) == "absent"
    assert status(str(open_folder)) == "unreadable"
    os.mkfifo(open_folder / "fifo")
    assert status(str(open_folder / "fifo")) == "unreadable"
    assert status("/dev/zero") == "unreadable"
    closed = open_folder / "closed"
    closed.write_bytes(b"x" * 10)
    assert status(str(closed), -1) == "error"
    closed.chmod(0)
    with unprivileged():
        assert status(str(closed)) == "unreadable"


def test_a_tree_has_its_own_model(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"abc")
    (tmp_path / "link.onnx").symlink_to("/model.onnx")
    host = Host(root=tmp_path, environ={})
    found = capture(Target("", model="/link.onnx"), host=host, sections=("variables",)).sections["variables"]
    assert found.status == "skipped"
    assert found.readings["model"]["size"] == 3
