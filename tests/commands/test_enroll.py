"""`envcheck enroll` against a real collector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.fleet import Collector, Commands, Device

from envcheck.transport.state import State

Make = Callable[[], Device]


def test_a_token_for_one_accepts_at_once_with_its_labels(device: Make, collector: Collector) -> None:
    press = device()
    token = collector.token("enroll", "--uses", "1", "--label", "line=press")
    said = press.run("enroll", collector.url, "--token", token, "--label", "site=berlin")
    assert said.code == 0
    assert said.out == f"{press.name} is accepted (line=press)\nnext: envcheck report\n"
    assert press.run("report").code == 0


def test_enrolling_again_is_harmless(device: Make, collector: Collector) -> None:
    press = device()
    token = collector.token("enroll", "--uses", "1")
    first = press.run("enroll", collector.url, "--token", token)
    key = (press.state / "key.pem").read_bytes()
    assert press.run("enroll", collector.url, "--token", token) == first
    assert (press.state / "key.pem").read_bytes() == key


def test_a_token_for_many_leaves_the_device_pending(device: Make, collector: Collector) -> None:
    press = device()
    said = press.run("enroll", collector.url, "--token", collector.token("enroll"))
    assert (said.code, "is pending" in said.out, "device accept" in said.out) == (0, True, True)
    refused = press.run("report")
    assert refused.code == 2
    assert "waits for an operator" in refused.err
    collector.operate("device", "accept", press.name)
    assert press.run("report").code == 0


def test_another_machine_never_takes_over_a_name(device: Make, collector: Collector) -> None:
    press, thief = device(), device()
    thief.name = press.name
    press.run("enroll", collector.url, "--token", collector.token("enroll", "--uses", "1"))
    said = thief.run("enroll", collector.url, "--token", collector.token("enroll", "--uses", "1"))
    assert "is pending" in said.out
    assert thief.run("report").code == 2
    assert press.run("report").code == 0


def test_the_token_may_come_from_a_file_or_a_variable(
    device: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = device(), device()
    first.directory.mkdir()
    (first.directory / "token").write_text(collector.token("enroll", "--uses", "1") + "\n")
    assert first.run("enroll", collector.url, "--token-file", first.directory / "token").code == 0
    monkeypatch.setenv("ENVCHECK_TOKEN", collector.token("enroll", "--uses", "1"))
    assert second.run("enroll", collector.url).code == 0


def test_a_used_up_token_is_said_to_be(device: Make, collector: Collector) -> None:
    token = collector.token("enroll", "--uses", "1")
    device().run("enroll", collector.url, "--token", token)
    said = device().run("enroll", collector.url, "--token", token)
    assert said.code == 2
    assert "used up" in said.err
    assert token not in said.err


def test_a_wrong_token_is_refused(device: Make, collector: Collector) -> None:
    press = device()
    said = press.run("enroll", collector.url, "--token", "envcheck_wrong")
    assert (said.code, "token" in said.err) == (2, True)
    assert not (press.state / "enrolled").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["http://127.0.0.1:9"], "there is no token"),
        (["nonsense", "--token", "t"], "nonsense"),
        (["--token", "t"], "which collector"),
        (["http://127.0.0.1:9", "--token-file", "/nowhere/token"], "/nowhere/token"),
        (["http://127.0.0.1:9", "--token", "t", "--device", "Press 7"], "Press 7"),
        (["http://127.0.0.1:9", "--token", "t", "--label", "line"], "'line' is not a label"),
    ],
)
def test_bad_input_is_named(device: Make, arguments: list[str], named: str) -> None:
    press = device()
    said = press.run("enroll", *arguments)
    assert (said.code, named in said.err) == (2, True), said.err
    assert not press.state.exists()


def test_nobody_there(device: Make) -> None:
    said = device().run("enroll", "http://127.0.0.1:9", "--token", "t")
    assert (said.code, "can't be reached" in said.err) == (4, True)


def test_a_state_directory_that_cannot_be_used(device: Make, collector: Collector) -> None:
    press = device()
    press.directory.mkdir()
    press.state.write_text("a file is in the way")
    said = press.run("enroll", collector.url, "--token", "t")
    assert said.code == 2
    assert str(press.state) in said.err
    assert "state_dir" in said.err


def test_an_interpreter_that_is_not_there(device: Make, collector: Collector) -> None:
    press = device()
    press.settings["python"] = "/nowhere/python"
    said = press.run("enroll", collector.url, "--token", "t")
    assert (said.code, "/nowhere/python" in said.err) == (2, True)


def test_help_shows_examples(commands: Commands) -> None:
    assert "envcheck enroll https://" in commands("enroll", "--help").out


def test_a_device_gets_another_key_and_goes_on_as_before(device: Make, collector: Collector) -> None:
    press = device()
    press.run("enroll", collector.url, "--token", collector.token("enroll", "--uses", "1", "--label", "a=b"))
    assert press.run("report").code == 0
    key = (press.state / "key.pem").read_bytes()
    said = press.run("enroll", "--rotate")
    assert (said.code, said.out.splitlines()[0]) == (0, f"{press.name} is accepted (a=b)"), said.err
    assert (press.state / "key.pem").read_bytes() != key
    assert (press.state / "key.pem").stat().st_mode & 0o077 == 0
    assert not (press.state / "key.next.pem").exists()
    assert "report 2 acknowledged" in press.run("report").out
    # The old key is out: whoever copied it speaks no more.
    (press.state / "key.pem").write_bytes(key)
    assert "revoked" in press.run("report").err


@pytest.mark.parametrize("taken", [False, True], ids=["cut before", "cut after"])
def test_a_change_of_keys_that_was_cut_off_is_finished_by_the_next_report(
    device: Make, collector: Collector, taken: bool
) -> None:
    press = device()
    press.run("enroll", collector.url, "--token", collector.token("enroll", "--uses", "1"))
    press.run("report")
    state = State(press.state)
    old = (press.state / "key.pem").read_bytes()
    new = state.make_next_key()
    if taken:
        kept = (press.state / "key.next.pem").read_bytes()
        assert press.run("enroll", "--rotate").code == 0
        (press.state / "key.pem").write_bytes(old)
        (press.state / "key.next.pem").write_bytes(kept)
        (press.state / "key.next.pem").chmod(0o600)
    said = press.run("report")
    assert (said.code, said.err) == (0, "")
    assert state.key().public_key == new.public_key
    assert state.next_key() is None


def test_who_is_refused_keeps_the_key_that_it_has(device: Make, collector: Collector) -> None:
    press = device()
    press.run("enroll", collector.url, "--token", collector.token("enroll", "--uses", "1"))
    collector.operate("device", "revoke", press.name)
    key = (press.state / "key.pem").read_bytes()
    said = press.run("enroll", "--rotate")
    assert (said.code, "revoked" in said.err) == (2, True)
    assert (press.state / "key.pem").read_bytes() == key
    assert not (press.state / "key.next.pem").exists()
    assert "not enrolled" in device().run("enroll", "--rotate").err
    assert device().run("enroll", "--rotate", "--prepare").code == 2


def test_a_prepared_device_needs_no_token(device: Make, collector: Collector, tmp_path: Path) -> None:
    press, other = device(), device()
    lines = [press.run("enroll", "--prepare"), press.run("enroll", "--prepare")]
    assert [said.code for said in lines] == [0, 0]
    assert lines[0].out == lines[1].out, "the key is made once"
    refused = press.run("enroll", collector.url)
    assert (refused.code, "not preauthorised" in refused.err) == (2, True)
    batch = tmp_path / "batch.csv"
    batch.write_text("hardware,public_key,device,line\n" + lines[0].out.strip() + ",press\n")
    assert collector.operate("device", "preauthorise", str(batch)) == "1 devices may enrol without a token"
    said = press.run("enroll", collector.url)
    assert (said.code, said.out.splitlines()[0]) == (0, f"{press.name} is accepted (line=press)"), said.err
    assert press.run("report").code == 0
    # Listed for other hardware than this machine's.
    line = other.run("enroll", "--prepare").out.strip()
    batch.write_text("f" * 32 + line[line.index(",") :] + "\n")
    collector.operate("device", "preauthorise", str(batch))
    assert f"{other.name} is pending" in other.run("enroll", collector.url).out
