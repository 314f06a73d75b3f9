"""The state directory: key, enrolment, sequence, one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.keys import is_signed_by
from envcheck.errors import BadInput
from envcheck.transport.files import seal, unseal, write_whole
from envcheck.transport.state import Enrolled, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path / "state")
    made.create()
    return made


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    state = State(tmp_path / "state")
    state.create()
    state.directory.chmod(mode)
    with pytest.raises(BadInput, match="other users") as caught, state.lock():
        pass
    assert caught.value.hint == f"chmod go-w {state.directory}"
    state.directory.chmod(0o755)
    with state.lock():
        pass


def test_the_key_is_made_once_and_only_its_owner_reads_it(state: State) -> None:
    key = state.make_key()
    assert state.make_key().public_key == key.public_key == state.key().public_key
    assert is_signed_by(key.public_key, state.key().sign(b"words"), b"words")
    assert (state.directory / "key.pem").stat().st_mode & 0o777 == 0o600
    assert state.directory.stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_can_read_is_refused(state: State) -> None:
    state.make_key()
    (state.directory / "key.pem").chmod(0o640)
    with pytest.raises(BadInput, match="other users") as caught:
        state.key()
    assert "chmod 600" in caught.value.hint


def test_without_enrolment_the_way_out_is_named(tmp_path: Path) -> None:
    for question in (State(tmp_path / "nowhere").key, State(tmp_path / "nowhere").enrolled):
        with pytest.raises(BadInput, match="not enrolled") as caught:
            question()
        assert "envcheck enroll" in caught.value.hint


def test_sequence_numbers_rise_by_one_and_survive_a_new_run(state: State) -> None:
    assert [state.next_sequence(1) for _ in range(3)] == [1, 2, 3]
    assert State(state.directory).next_sequence(1) == 4
    assert state.next_sequence(2) == 1


def test_a_number_is_on_disk_before_it_is_used(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    state.next_sequence(1)
    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(BadInput, match="No space left") as caught:
        state.next_sequence(1)
    assert "free some space" in caught.value.hint
    monkeypatch.undo()
    assert state.next_sequence(1) == 2
    assert not [path for path in state.directory.iterdir() if path.name.endswith(".new")]


def test_a_damaged_sequence_is_never_guessed(state: State) -> None:
    state.next_sequence(1)
    (state.directory / "sequence").write_bytes(b"")
    with pytest.raises(BadInput, match="damaged") as caught:
        state.next_sequence(1)
    assert "enroll" in caught.value.hint


_HOLD = """
import sys
from pathlib import Path
from envcheck.transport.state import State
with State(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_runs_at_once_are_refused(state: State) -> None:
    command = [sys.executable, "-c", _HOLD, state.directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(BadInput, match="another run"), state.lock():
            pass
        other.communicate(timeout=20)
    with state.lock():
        pass


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Run as nobody where the tests run as root, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("unprivileged")
def test_a_directory_that_is_not_ours() -> None:
    with pytest.raises(BadInput, match="Permission denied") as caught:
        State(Path("/root-only-envcheck")).create()
    assert "the user who owns it" in caught.value.hint


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for refused in (State(tmp_path / "file").create, State(tmp_path / "file" / "state").create):
        with pytest.raises(BadInput, match=str(tmp_path / "file")) as caught:
            refused()
        assert "state_dir" in caught.value.hint


def test_what_is_saved_is_loaded(state: State) -> None:
    enrolled = Enrolled(collector="http://c", device="press-07", epoch=2, state="pending", labels={"a": "b"})
    state.save("enrolled", enrolled)
    assert state.enrolled() == enrolled


def test_files_are_written_whole_over_what_a_killed_run_left(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_bytes(b"half")
    write_whole(tmp_path / "file", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]


@given(st.binary(), st.data())
def test_a_seal_shows_any_change(content: bytes, data: st.DataObject) -> None:
    sealed = seal(content)
    assert unseal(sealed) == content
    at = data.draw(st.integers(0, len(sealed) - 1))
    bit = data.draw(st.integers(0, 7))
    assert unseal(sealed[:at]) is None
    assert unseal(sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1 :]) is None
    assert unseal(sealed + b"\0") is None
