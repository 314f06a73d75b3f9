"""`envcheck enroll` against a real collector."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.fleet import Collector, Commands, Device

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
