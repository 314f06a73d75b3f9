from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.tools import need

from envcheck.facts.boot_cache import kept_until_boot


def counted(answers: list[bytes]) -> Callable[[], bytes]:
    return lambda: answers.pop(0)


def test_an_answer_is_kept_until_the_next_boot(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    ask = counted([b"first", b"second"])
    assert kept_until_boot(environ, "x", "boot-1", ask) == b"first"
    assert kept_until_boot(environ, "x", "boot-1", ask) == b"first"
    assert kept_until_boot(environ, "x", "boot-2", ask) == b"second"


def test_without_a_boot_id_or_an_answer_nothing_is_kept(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    ask = counted([b"1", b"2", b"", b"3"])
    assert [kept_until_boot(environ, "x", boot, ask) for boot in ("", "", "b", "b")] == [
        b"1",
        b"2",
        b"",
        b"3",
    ]
    assert (tmp_path / ".cache/envcheck/x").read_bytes() == b"b\n3"


def test_a_cache_that_can_not_be_written_or_is_damaged_costs_no_answer(
    open_folder: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    environ = {"XDG_CACHE_HOME": str(open_folder)}
    open_folder.chmod(0o555)
    with unprivileged():
        assert kept_until_boot(environ, "x", "b", lambda: b"told") == b"told"
    open_folder.chmod(0o755)
    assert list(open_folder.iterdir()) == []
    # One that is another user's alone.
    (open_folder / "envcheck").mkdir(mode=0o700)
    with unprivileged():
        assert kept_until_boot(environ, "x", "b", lambda: b"told") == b"told"
    (open_folder / "envcheck").rmdir()
    (open_folder / "envcheck").mkdir()
    (open_folder / "envcheck" / "x").write_bytes(b"b")
    assert kept_until_boot(environ, "x", "b", lambda: b"again") == b"again"
    (open_folder / "envcheck" / "y").mkdir()
    assert kept_until_boot(environ, "y", "b", lambda: b"told") == b"told"
    assert sorted(path.name for path in (open_folder / "envcheck").iterdir()) == ["x", "y"]
    assert kept_until_boot({}, "x", "b", lambda: b"told") == b"told"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_what_somebody_else_has_put_there_is_not_believed(tmp_path: Path) -> None:
    """A service with another user's HOME, `sudo` that keeps it."""
    environ = {"HOME": str(tmp_path)}
    kept = tmp_path / ".cache/envcheck/x"
    assert kept_until_boot(environ, "x", "b", lambda: b"told") == b"told"
    kept.write_bytes(b"b\nplanted")
    os.chown(kept, 65534, 65534)
    assert kept_until_boot(environ, "x", "b", lambda: b"told") == b"told"
    assert kept.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("options", ["size=4k", "size=4k,ro"])
def test_a_full_disk_and_a_read_only_one_cost_no_answer(tmp_path: Path, options: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from envcheck.facts.boot_cache import kept_until_boot\n"
        "told = kept_until_boot({'HOME': sys.argv[1]}, 'x', 'b', lambda: b'y' * 9999)\n"
        "sys.exit(0 if told == b'y' * 9999 else 'the answer is lost')"
    )
    script = f'mount -t tmpfs -o {options} none {home} && {sys.executable} -c "$0" {home}'
    script += f' && test -z "$(find {home} -type f)"'
    command = [need("unshare"), "--mount", "--propagation", "private", "sh", "-c", script, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
