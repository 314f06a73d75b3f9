from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envcheck.facts.process import Ended, begin, run_bounded

ENVIRON = {"PATH": os.environ["PATH"]}


def test_output_and_exit_code() -> None:
    ended = run_bounded(["sh", "-c", "echo out; echo err >&2; exit 3"], environ=ENVIRON, deadline_s=10)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")
    assert not ended.timed_out


def test_a_signal_is_told() -> None:
    assert run_bounded(["sh", "-c", "kill -ILL $$"], environ=ENVIRON, deadline_s=10).returncode == -4


def test_what_hangs_is_killed_with_all_its_children(tmp_path: Path) -> None:
    note = tmp_path / "child"
    begun = time.monotonic()
    command = f"sleep 100 & echo $! > {note}; echo begun; sleep 100"
    ended = run_bounded(["sh", "-c", command], environ=ENVIRON, deadline_s=0.5)
    assert ended.timed_out
    assert ended.returncode is None
    assert ended.stdout == b"begun\n"
    assert time.monotonic() - begun < 5
    assert _is_gone(int(note.read_text()))


def test_a_grandchild_that_holds_the_pipe_does_not_hold_us() -> None:
    begun = time.monotonic()
    ended = run_bounded(["sh", "-c", "setsid sleep 5 & echo out"], environ=ENVIRON, deadline_s=0.5)
    assert ended.stdout == b"out\n"
    assert time.monotonic() - begun < 4


def test_nobody_waits_for_a_grandchild_when_the_process_has_ended() -> None:
    """A start-up hook may leave a daemon behind that holds the pipes."""
    begun = time.monotonic()
    for detach in ("", "setsid "):
        ended = run_bounded(
            ["sh", "-c", f"{detach}sleep 30 & echo out; exit 3"], environ=ENVIRON, deadline_s=20
        )
        assert (ended.returncode, ended.stdout, ended.timed_out) == (3, b"out\n", False)
    assert time.monotonic() - begun < 10


def test_a_pause_in_the_output_is_no_end() -> None:
    ended = run_bounded(["sh", "-c", "echo one; sleep 0.4; echo two"], environ=ENVIRON, deadline_s=10)
    assert ended == Ended(0, b"one\ntwo\n")


def test_a_flood_is_cut_off() -> None:
    ended = run_bounded(["sh", "-c", "yes"], environ=ENVIRON, deadline_s=10, limit=100_000)
    assert ended.flooded
    assert not ended.timed_out
    assert len(ended.stdout) < 1_000_000


def test_what_can_not_be_started_says_why() -> None:
    ended = run_bounded(["/no/such/program"], environ=ENVIRON, deadline_s=1)
    assert ended.returncode is None
    assert ended.problem == "No such file or directory"


def test_nothing_is_left_behind_when_the_agent_ends_early(tmp_path: Path) -> None:
    note = tmp_path / "child"
    code = (
        "import threading, time; from envcheck.facts.process import Ended, begin, run_bounded; "
        f"command = ['sh', '-c', 'echo $$ > {note}.new; mv {note}.new {note}; sleep 100']; "
        "run = lambda: run_bounded(command, environ={'PATH': '/usr/bin:/bin'}, deadline_s=60); "
        "threading.Thread(target=run, daemon=True).start()\n"
        f"while not __import__('os').path.exists('{note}'): time.sleep(0.01)\n"
        # The child may run before its start was noted.
        "time.sleep(0.5)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert _is_gone(int(note.read_text()))


def run_anywhere(command: list[str], deadline_s: float = 10) -> Ended:
    return begin([shutil.which(command[0]) or command[0], *command[1:]], environ=ENVIRON, anywhere=True).end(
        deadline_s
    )


@pytest.mark.parametrize(
    "script",
    [
        "echo out; echo err >&2; exit 3",
        "kill -ILL $$",
        "cat",
        "unset PWD; env | sort",
        "yes | head -c 1000000; exit 7",
        # Signals that Python ignores are not ignored there.
        "kill -PIPE $$; exit 1",
        "kill -XFSZ $$; exit 1",
        # Its own session, nothing open but the three streams (and what lists them).
        "ps -o sid= -p $$ | tr -d ' ' | grep -qx $$ && echo leader",
        "ls /proc/self/fd | head -5 | tr '\\n' ' '",
    ],
)
def test_where_it_starts_is_all_that_differs(script: str) -> None:
    command = ["sh", "-c", script]
    with Path(os.devnull).open("rb") as open_file:
        os.set_inheritable(open_file.fileno(), True)
        assert run_anywhere(command) == run_bounded(command, environ=ENVIRON, deadline_s=10)


def test_what_hangs_is_killed_both_ways() -> None:
    command = ["sh", "-c", "echo begun; exec sleep 100"]
    ended = run_anywhere(command, 0.5)
    assert ended == run_bounded(command, environ=ENVIRON, deadline_s=0.5)
    assert ended == Ended(None, b"begun\n", timed_out=True)


def test_it_starts_in_the_root_directory_or_where_the_agent_is() -> None:
    assert run_bounded(["pwd"], environ=ENVIRON, deadline_s=10).stdout == b"/\n"
    assert run_anywhere(["pwd"]).stdout.decode() == f"{Path.cwd()}\n"


@pytest.mark.parametrize("command", [["/no/such/program"], ["/etc/hostname"], ["/etc"], ["a\0b"]])
def test_both_ways_say_the_same_of_what_can_not_be_started(command: list[str]) -> None:
    assert run_anywhere(command) == run_bounded(command, environ=ENVIRON, deadline_s=10)


def test_no_descriptor_is_left_open() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    for command in (["true"], ["sh", "-c", "sleep 9"], ["/no/such/program"]):
        run_bounded(command, environ=ENVIRON, deadline_s=0.2, stdin=b"x")
        run_anywhere(command, 0.2)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_standard_input_holds_what_is_given() -> None:
    assert run_bounded(["cat"], environ=ENVIRON, deadline_s=10, stdin=b"x" * 200_000).stdout == b"x" * 200_000


def _is_gone(pid: int) -> bool:
    """Killed: no such process, or a zombie that nobody has waited for yet."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_what_a_process_is_given_to_read_needs_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or read-only /tmp must not keep a container's interpreter from being asked."""
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    ended = run_bounded(["/bin/cat"], environ={}, deadline_s=10, stdin=b"the question")
    assert (ended.stdout, ended.problem) == (b"the question", "")
