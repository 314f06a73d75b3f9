"""The command `envcheck-server`: what operators type, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from support import builders
from support.collector import Device, evidence_of, make_bundle

from envcheck.cli import run_cli
from envcheck.contract.fingerprint import Section
from envcheck_server.cli import envcheck_server
from envcheck_server.store.interface import StoreBusy
from envcheck_server.store.sqlite import SqliteStore


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run a command on the database of this test; returns exit code, stdout and stderr."""
    monkeypatch.setenv("ENVCHECK_SERVER_DATABASE", str(tmp_path / "collector.db"))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_cli(envcheck_server, list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_help_needs_no_server_and_names_every_command() -> None:
    told = CliRunner().invoke(envcheck_server, ["--help"]).output
    for name in ("serve", "migrate", "token", "device", "release", "db"):
        assert f"  {name}" in told
    assert "Exit codes" in told


def test_without_a_database_the_way_out_is_named(ask) -> None:
    code, _, told = ask("token", "list")
    assert code == 2
    assert "envcheck-server migrate" in told
    code, out, _ = ask("migrate")
    assert code == 0
    assert "was empty" in out
    assert "as before" in ask("migrate")[1]
    assert ask("token", "list")[0] == 0


def test_a_token_is_shown_once_and_alone(ask) -> None:
    ask("migrate")
    code, secret, told = ask(
        "token", "create", "--scope", "enroll", "--label", "line=press", "--uses", "1", "--expires", "24h"
    )
    assert code == 0
    assert secret.startswith("envcheck_")
    assert len(secret.split()) == 1
    assert secret.strip() not in told
    listed = ask("token", "list")[1]
    assert "line=press" in listed
    assert "0 of 1" in listed
    assert "until 20" in listed
    assert secret.strip() not in listed
    ident = listed.splitlines()[1].split()[0]
    assert ask("token", "revoke", ident)[0] == 0
    assert "revoked" in ask("token", "list")[1]
    assert ask("token", "revoke", "nothing")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["token", "create", "--scope", "everything"],
        ["token", "create", "--scope", "enroll", "--label", "no label"],
        ["token", "create", "--scope", "gate:read", "--uses", "1"],
        ["token", "create", "--scope", "enroll", "--uses", "0"],
        ["token", "create", "--scope", "enroll", "--expires", "soon"],
        ["token", "create", "--scope", "enroll", "--expires", "0"],
        ["token", "create", "--scope", "enroll", "--expires", "999999999w"],
        ["device", "accept", "nobody"],
        ["device", "label", "nobody", "site=berlin"],
        ["device", "list", "--selector", "a=b,,"],
        ["device", "list", "--release", "digits@1.0"],
        ["release", "retire", "digits@1.0"],
        ["serve", "--port", "70000"],
        ["nonsense"],
    ],
)
def test_wrong_input_ends_with_2_and_no_traceback(ask, arguments: list[str]) -> None:
    ask("migrate")
    code, _, told = ask(*arguments)
    assert code == 2
    assert told
    assert "Traceback" not in told


def test_a_port_that_is_taken_touches_no_database(tmp_path, ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, told = ask("serve", "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "--port 0" in told
    assert not (tmp_path / "collector.db").exists()


def test_a_held_database_is_unknown(ask, monkeypatch) -> None:
    ask("migrate")

    def held(_self) -> str:
        raise StoreBusy("the collector's database is not available", "try again")

    monkeypatch.setattr(SqliteStore, "revision", held)
    assert ask("token", "list")[0] == 3


def test_an_internal_fault_is_70_and_an_interruption_130(ask, monkeypatch) -> None:
    ask("migrate")

    def fail(_self) -> str:
        raise ZeroDivisionError("a fault")

    def interrupt(_self) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(SqliteStore, "revision", fail)
    monkeypatch.delenv("ENVCHECK_DEBUG", raising=False)
    code, _, told = ask("token", "list")
    assert code == 70
    assert "ENVCHECK_DEBUG" in told
    monkeypatch.setattr(SqliteStore, "revision", interrupt)
    assert ask("token", "list")[0] == 130


def test_the_fleet_table(ask, collector, place, monkeypatch) -> None:
    bundle = make_bundle()
    collector.holder("baseline:write").push(bundle)
    device = collector.device("press-01", labels={"line": "press"})
    device.report(evidence_of(device, bundle))
    nasty = builders.sections(
        python=Section(status="ok", shared={"version": "3\x1b[2J[red]11"}),
        **{"npu\x1b[2J": Section(status="absent")},
    )
    sick = collector.device("press-02", sections=nasty)
    sick.report()
    Device(collector.http, "press-03").enrol(collector.token())
    # The commands work on the same database, beside the collector.
    monkeypatch.setenv("ENVCHECK_SERVER_DATABASE", str(place))
    code, table, err = ask("device", "list", "--release", "digits@1.0")
    assert (code, "unknown here, and not judged: the sections npu" in err, "\x1b" in err) == (0, True, False)
    assert ask("device", "list", "--selector", "line=press")[2] == ""
    rows = table.splitlines()
    assert rows[0].split() == [
        "DEVICE",
        "STATE",
        "LABELS",
        "LAST",
        "SEEN",
        "PYTHON",
        "ONNXRUNTIME",
        "VERDICT",
        "REASON",
    ]
    assert "press-01" in rows[1]
    assert "ready" in rows[1]
    assert "line=press" in rows[1]
    assert "the model was not run on this device" in rows[2]
    assert "\x1b" not in table
    assert "[red]" in rows[2]
    assert "pending" in rows[3]
    assert "never" in rows[3]
    found = json.loads(ask("device", "list", "--json", "--selector", "line=press")[1])
    assert [one["device"] for one in found["devices"]] == ["press-01"]
    assert "epoch 1" in ask("device", "accept", "press-03")[1]
    assert "site=bonn" in ask("device", "label", "press-03", "site=bonn", "line-")[1]
    second = Device(collector.http, "press-01")
    assert second.enrol(collector.token()).state == "pending"
    told = f"the key {second.keyid[:8]} of press-01 is rejected\n"
    assert ask("device", "reject", "press-01", "--key", second.keyid[:6])[:2] == (0, told)
    code, _, told = ask("device", "reject", "press-01")
    assert (code, "press-01" in told) == (2, True), "no other key waits"
    assert device.report().stored
    listed = ask("release", "list")[1].splitlines()
    assert listed[1].split()[:2] == ["digits@1.0", "1"]
    assert listed[1].endswith("offered  every device")
    assert ask("release", "retire", "digits@1.0")[1] == "digits@1.0 is retired\n"
    assert "retired 20" in ask("release", "list")[1]
    assert json.loads(ask("release", "list", "--json")[1])["releases"][0]["retired"] is True
    assert ask("device", "list", "--release", "digits@1.0")[0] == 2
    assert ask("device", "revoke", "press-03")[0] == 0
    assert "revoked" in ask("device", "list")[1]
    counts = json.loads(ask("db", "stats", "--json")[1])
    assert counts["devices"] == 3
    assert "devices" in ask("db", "stats")[1]


def test_a_reader_that_goes_away_is_no_fault(tmp_path) -> None:
    environ = {**os.environ, "ENVCHECK_SERVER_DATABASE": str(tmp_path / "c.db")}
    command = f"{sys.executable} -m envcheck_server --help | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert "Traceback" not in done.stderr
