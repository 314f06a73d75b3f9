"""The command line's frame: whatever a command does, a documented exit code and a calm word on stderr."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.cli import COMMANDS, envcheck, run_cli
from envcheck.contract.text import printable
from envcheck.errors import BadInput, MissingExtra, Undetermined, Unreachable


def ending(action: Callable[[], Any]) -> int:
    """Run a command that does `action`."""

    @click.command()
    def command() -> Any:
        return action()

    return run_cli(command, [])


def raising(error: BaseException) -> Callable[[], Any]:
    def action() -> Any:
        raise error

    return action


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (3, 3), (4, 4), ("text", 0)])
def test_what_a_command_returns_is_the_exit_code(returned: Any, code: int) -> None:
    assert ending(lambda: returned) == code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadInput("a.yaml: rules[0]: bad", "see docs"), 2, "error: a.yaml: rules[0]: bad\n  see docs\n"),
        (Undetermined("no report", "wait"), 3, "error: no report\n  wait\n"),
        (Unreachable("no answer"), 4, "error: no answer\n"),
        (
            MissingExtra("numpy", "smoke", "smoke"),
            2,
            (
                "error: smoke needs the package numpy, which is not installed here\n"
                "  pip install 'envcheck[smoke]'\n"
            ),
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (click.exceptions.Exit(3), 3, ""),
        (click.UsageError("no"), 2, "Error: no\n"),
        (click.BadParameter("no"), 2, "Error: Invalid value: no\n"),
        (click.FileError("f", "gone"), 2, "Error: Could not open file 'f': gone\n"),
    ],
)
def test_errors_end_with_their_code_and_hint(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(raising(error)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(said)


@pytest.mark.parametrize("debug", ["", "1"])
def test_an_internal_error_hides_its_traceback(
    debug: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVCHECK_DEBUG", debug)
    assert ending(raising(ValueError("odd \x1b[31m thing"))) == 70
    said = capsys.readouterr().err
    assert said.startswith("internal error: ValueError: odd \\x1b[31m thing\n")
    assert ("Traceback" in said) is bool(debug)
    assert ("ENVCHECK_DEBUG=1 shows where" in said) is not bool(debug)


@pytest.mark.parametrize(("status", "code"), [(None, 0), (0, 0), (1, 1), (3, 3), ("words", 70)])
def test_an_exit_that_a_library_took_keeps_its_code(status: Any, code: int) -> None:
    assert ending(raising(SystemExit(status))) == code


def test_errors_are_inert_and_can_not_pose_as_lines_of_envcheck(capsys: pytest.CaptureFixture[str]) -> None:
    ending(raising(BadInput("a\x1b[2J\x07\u202e\nverdict: pass", "b\r\x9bc\nerror: d")))
    assert capsys.readouterr().err == (
        "error: a\\x1b[2J\\x07\\u202e\n  verdict: pass\n  b\\r\\x9bc\n  error: d\n"
    )


@given(st.text(alphabet=st.characters(), max_size=30))
def test_nothing_printable_tells_a_terminal_what_to_do(text: str) -> None:
    shown = printable(text)
    assert shown.replace("\n", "").isprintable()
    assert not any(line and not line.startswith("  ") for line in shown.split("\n")[1:])
    if text.isprintable():
        assert shown == text


def test_a_half_surrogate_is_shown_escaped() -> None:
    assert printable("caf\udce9") == "caf\\udce9"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["--nosuch"],
        ["capture", "--nosuch"],
        ["key"],
        ["baseline"],
        ["gate"],
        ["baseline", "nosuch"],
    ],
)
def test_wrong_usage_is_told_on_stderr(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(envcheck, arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: ")
    assert "Traceback" not in captured.err


def test_arguments_are_inert_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(envcheck, ["\x1b[2Jnosuch"]) == 2
    assert run_cli(envcheck, ["--nosuch\x1b[2J\nverdict: pass"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\nverdict" not in said


@pytest.mark.parametrize(
    ("option", "said"),
    [("--help", "Find out before rollout"), ("-h", "Exit codes: 0 pass"), ("--version", "envcheck, version")],
)
def test_help_and_version_go_to_stdout(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(envcheck, [option]) == 0
    captured = capsys.readouterr()
    assert said in captured.out
    assert captured.err == ""


def test_help_lists_every_command_in_order_of_their_use(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(envcheck, ["--help"])
    listed = capsys.readouterr().out.split("Commands:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)


FULL = Path("/dev/full")

# From here on a process of its own: pipes, signals and full disks are the system's to make.

PROGRAM = """
import sys, click
from envcheck.cli import run_cli
@click.command()
def command():
    {body}
sys.exit(run_cli(command, []))
"""


def start(body: str, **options: Any) -> subprocess.Popen[bytes]:
    program = PROGRAM.format(body=body)
    # Buffered, as people run it: what is still in the buffer at the end counts too.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, env=environ, **options)


@pytest.mark.parametrize(
    "body",
    [
        "print('a few words that are still in the buffer at the end')",
        "click.echo('x' * 1_000_000)",
        "from rich.console import Console; [Console().print('x') for _ in range(9)]",
        "[print(n) for n in range(1_000_000)]",
        "sys.stdout.write('x' * 1_000_000); return 0",
    ],
)
def test_an_answer_that_nobody_read_is_unknown(body: str) -> None:
    with start(body, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a disk without room")
@pytest.mark.parametrize("body", ["click.echo('x')", "print('x')"])
def test_an_answer_that_can_not_be_written_is_unknown(body: str) -> None:
    with FULL.open("wb") as full, start(body, stdout=full) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 3
    assert said == "error: the output can't be written: [Errno 28] No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a disk without room")
def test_the_code_holds_where_stderr_can_not_be_written() -> None:
    with FULL.open("wb") as full:
        program = PROGRAM.format(body="from envcheck.errors import Unreachable; raise Unreachable('x', 'y')")
        assert subprocess.run([sys.executable, "-c", program], stderr=full).returncode == 4


def test_an_interrupt_ends_with_130() -> None:
    body = "import time; click.echo('ready'); time.sleep(60)"
    with start(body, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert said.strip() == "interrupted"


def test_what_the_terminal_can_not_show_is_escaped() -> None:
    program = (
        "import sys; from envcheck import cli; import click\n"
        "cli.envcheck = click.command()(lambda: click.echo('caf\\xe9 \\udcff'))\n"
        "cli.main()"
    )
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environ)
    assert (found.returncode, found.stdout) == (0, b"caf\xe9 \\udcff\n")


def test_a_closed_stdout_is_no_fault() -> None:
    program = PROGRAM.format(body="click.echo('x'); return 1")
    script = 'exec "$0" -c "$1" >&-'
    found = subprocess.run(["/bin/sh", "-c", script, sys.executable, program], capture_output=True)
    assert (found.returncode, found.stderr) == (1, b"")
