from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envcheck.errors import BadInput
from envcheck.facts.host import Host, Target, resolve_target


def test_links_in_a_captured_tree_lead_nowhere_outside(tree: Callable[..., Host]) -> None:
    host = tree({"usr/lib/os-release": "inside", "etc/keep": ""})
    (host.root / "etc/os-release").symlink_to("/usr/lib/os-release")
    (host.root / "etc/above").symlink_to("../../../../../../usr/lib/os-release")
    (host.root / "etc/outside").symlink_to("/etc/passwd")
    assert host.read("/etc/os-release") == b"inside"
    assert host.read("/etc/above") == b"inside"
    with pytest.raises(FileNotFoundError):
        host.read("/etc/outside")


def test_a_loop_of_links_is_an_error_and_no_hang(tree: Callable[..., Host]) -> None:
    host = tree({"etc/keep": ""})
    (host.root / "etc/a").symlink_to("b")
    (host.root / "etc/b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        host.read("/etc/a")


def test_a_named_pipe_does_not_block(tree: Callable[..., Host]) -> None:
    host = tree({"etc/keep": ""})
    os.mkfifo(host.root / "etc/pipe")
    assert host.read("/etc/pipe") == b""


def test_reading_is_bounded(tree: Callable[..., Host]) -> None:
    host = tree({"big": b"x" * 100_000})
    assert len(host.read("/big", limit=70_000)) == 70_000


def test_a_device_node_counts_only_when_it_is_one() -> None:
    assert Host().is_device("/dev/null")
    assert not Host().is_device("/etc/hostname")
    assert not Host().is_device("/dev/no-such-node")


def test_the_agents_own_interpreter_is_the_default() -> None:
    assert resolve_target(None, None) == Target(sys.executable)
    assert resolve_target("", None).isolated


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/no/such/python", "no interpreter /no/such/python"),
        ("no-such-python", "on PATH"),
        ("/etc", "not a file"),
        ("/bin/true", "not a Python 3"),
        ("/bin/false", "not a Python 3"),
        ("/bin/echo", "not a Python 3"),
    ],
)
def test_what_is_no_interpreter_is_refused_with_its_name(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        resolve_target(name, None)
    assert name in caught.value.message
    assert caught.value.hint


def test_a_venv_that_outlived_its_python_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/usr/bin/python-that-was")
    with pytest.raises(BadInput, match="which is not there"):
        resolve_target(str(tmp_path / "python"), None)


def test_a_text_file_is_no_interpreter(tmp_path: Path) -> None:
    plain = tmp_path / "python"
    plain.write_text("print('hello')")
    with pytest.raises(BadInput, match="may not be executed"):
        resolve_target(str(plain), None)
    plain.chmod(0o755)
    with pytest.raises(BadInput, match="not a Python 3"):
        resolve_target(str(plain), None)


def test_a_wrapper_script_is_an_interpreter(tmp_path: Path) -> None:
    wrapper = make_script(tmp_path / "python", f'exec {sys.executable} "$@"')
    assert resolve_target(str(wrapper), None).python == str(wrapper)


def test_an_interpreter_that_hangs_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envcheck.facts.finding._CHECK_DEADLINE_S", 0.2)
    sleeper = make_script(tmp_path / "python", "sleep 60")
    begun = time.monotonic()
    assert resolve_target(str(sleeper), None).python == str(sleeper)
    assert time.monotonic() - begun < 5


def test_a_configured_target_serves_with_its_own_variables_only(tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text("OMP_NUM_THREADS=2\n")
    target = resolve_target(None, str(file))
    assert target.command("-c", "pass") == [sys.executable, "-c", "pass"]
    variables = target.variables(Host(environ={"HOME": "/root"}))
    assert variables.keys() == {"OMP_NUM_THREADS", "PATH"}


def test_a_missing_env_file_is_named() -> None:
    with pytest.raises(BadInput, match=r"/no/app\.env can't be read"):
        resolve_target(None, "/no/app.env")


def make_script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("PYTHONHOME=/nowhere", "does not start: .*(codec|encoding)"),
        ("PYTHONHASHSEED=x", "does not start: .*HASHSEED"),
    ],
)
def test_a_python_that_its_variables_keep_from_starting(
    any_python: Path, tmp_path: Path, variables: str, said: str
) -> None:
    (tmp_path / "app.env").write_text(f"{variables}\n")
    with pytest.raises(BadInput, match=said):
        resolve_target(str(any_python), str(tmp_path / "app.env"))


def test_the_encoding_of_the_service_is_no_obstacle(any_python: Path, tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("PYTHONIOENCODING=utf-16\n")
    assert resolve_target(str(any_python), str(tmp_path / "app.env")).python == str(any_python)
