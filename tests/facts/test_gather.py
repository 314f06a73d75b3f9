"""The whole capture: statuses, deadlines, digests, goldens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envcheck.contract.document import decode, encode
from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, Section
from envcheck.errors import BadInput
from envcheck.facts import registry
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.identity import hardware_id
from envcheck.facts.section import Scene


def of_tree(root: Path) -> Fingerprint:
    return capture(Target(""), host=Host(root=root, environ={}))


def test_the_registry_holds_every_section_in_order() -> None:
    assert tuple(name for name, _ in registry.SECTIONS) == SECTION_NAMES


def test_this_machine_whole() -> None:
    found = capture(Target())
    assert tuple(found.sections) == SECTION_NAMES
    for name in ("python", "packages", "system", "cpu", "memory", "variables"):
        assert found.sections[name].status == "ok", name
        assert found.sections[name].duration_ms >= 0
    assert found.sections["python"].shared["version"] == sys.version.split()[0]
    assert decode(encode(found), Fingerprint, "own") == found


def test_whoever_calls_changes_no_digest() -> None:
    shell = Host(environ={**os.environ, "LANG": "de_DE.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"})
    timer = Host(environ={"PATH": "/usr/bin:/bin"})
    assert capture(Target(), host=shell).digest == capture(Target(), host=timer).digest


def test_without_serials_there_is_no_identity(tree: Callable[..., Host]) -> None:
    assert hardware_id(of_tree(tree({"etc/hostname": "x"}).root)) == ""


def test_an_interpreter_that_hangs_costs_only_what_it_would_have_told(tmp_path: Path) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nsleep 100\n")
    sleeper.chmod(0o755)
    begun = time.monotonic()
    found = capture(Target(str(sleeper)), deadline_s=1.0)
    assert time.monotonic() - begun < 3
    for name in ("python", "packages", "onnxruntime"):
        assert found.sections[name].status == "error"
        assert "deadline" in found.sections[name].reason
    for name in ("system", "cpu", "memory", "variables"):
        assert found.sections[name].status == "ok"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 3", "exit code 3"),
        ("kill -SEGV $$", "signal 11"),
        ("echo hello", "no answer"),
        ("echo 'ImportError: /srv/one/lib.so' >&2; exit 1", "ImportError"),
    ],
)
def test_an_interpreter_that_fails_says_how_without_naming_a_path(
    tmp_path: Path, body: str, said: str
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    section = capture(Target(str(script))).sections["packages"]
    assert section.status == "error"
    assert said in section.reason
    assert "/" not in section.reason


def test_an_interpreter_that_is_gone_is_an_error_of_its_sections() -> None:
    found = capture(Target("/no/such/python"))
    assert (
        found.sections["python"].reason == "the interpreter could not be started: No such file or directory"
    )
    assert found.sections["cpu"].status == "ok"


def _hangs(scene: Scene) -> Section:
    time.sleep(2)
    raise AssertionError("nobody waits that long")


def _fails(scene: Scene) -> Section:
    raise ZeroDivisionError("/srv/one/secret")


def _undecodable(scene: Scene) -> Section:
    return Section(status="ok", shared={"name\udcff": ["x\udc80", {"y": "\ud800"}]})


def test_a_section_that_hangs_or_fails_costs_no_other_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"cpu": _hangs, "memory": _fails, "system": _undecodable}
    monkeypatch.setattr(
        registry, "SECTIONS", tuple((name, changed.get(name, gather)) for name, gather in registry.SECTIONS)
    )
    found = capture(Target(), deadline_s=1.0)
    assert found.sections["cpu"].reason == "it did not end before the deadline"
    assert found.sections["memory"].reason == "it failed with ZeroDivisionError"
    assert found.sections["python"].status == "ok"
    assert found.sections["system"].shared == {"name?": ["x?", {"y": "?"}]}
    assert decode(encode(found), Fingerprint, "own") == found


def test_sections_are_chosen_by_name() -> None:
    assert tuple(capture(Target(), sections=("memory", "cpu")).sections) == ("cpu", "memory")
    with pytest.raises(BadInput, match="no section 'gpu'"):
        capture(Target(), sections=("gpu",))


def test_an_interpreter_is_asked_only_for_what_it_knows(tmp_path: Path) -> None:
    noting = tmp_path / "python"
    noting.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    noting.chmod(0o755)
    assert capture(Target(str(noting)), sections=("cpu", "memory")).sections["cpu"].status == "ok"
    assert not (tmp_path / "asked").exists()
    capture(Target(str(noting)), sections=("python",))
    assert (tmp_path / "asked").exists()
