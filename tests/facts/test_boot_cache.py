from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

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
    (open_folder / "envcheck").mkdir()
    (open_folder / "envcheck" / "x").write_bytes(b"b")
    assert kept_until_boot(environ, "x", "b", lambda: b"again") == b"again"
    (open_folder / "envcheck" / "y").mkdir()
    assert kept_until_boot(environ, "y", "b", lambda: b"told") == b"told"
    assert sorted(path.name for path in (open_folder / "envcheck").iterdir()) == ["x", "y"]
    assert kept_until_boot({}, "x", "b", lambda: b"told") == b"told"
