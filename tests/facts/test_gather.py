"""The whole capture: statuses, deadlines, digests, goldens."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.contract.document import decode, encode
from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, Section
from envcheck.errors import BadInput
from envcheck.facts import registry
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.identity import hardware_id
from envcheck.facts.section import Scene

HOSTS = Path(__file__).parents[1] / "hosts"
GOLDEN = Path(__file__).parent / "golden"
# The one command that updates the goldens: ENVCHECK_UPDATE_GOLDENS=1 pytest tests/facts/test_gather.py
UPDATE = "ENVCHECK_UPDATE_GOLDENS"
FILE_SECTIONS = ("system", "cpu", "memory", "cuda")


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


def test_captured_devices_are_as_their_goldens_say(device: str) -> None:
    found = of_tree(HOSTS / device / "root")
    plain: dict[str, Any] = {
        name: {key: value for key, value in msgspec.to_builtins(section).items() if key != "duration_ms"}
        for name, section in found.sections.items()
    }
    golden = GOLDEN / f"{device}.json"
    if os.environ.get(UPDATE) == "1":
        golden.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")
    assert plain == json.loads(golden.read_text()), f"if this is right: {UPDATE}=1 pytest {__file__}"


def test_every_captured_device_names_its_source(device: str) -> None:
    assert (HOSTS / device / "SOURCE.md").read_text().strip()


def test_another_device_of_the_image_and_a_reboot_change_no_digest(device: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(HOSTS / device / "root", root, symlinks=True)
    before = of_tree(root)
    changes = {
        "proc/sys/kernel/random/boot_id": "ffffffff-0000-4000-8000-000000000000\n",
        "etc/hostname": "another\n",
        "proc/uptime": "3.00 1.00\n",
        "proc/loadavg": "9.99 0.1 0.1 1/1 1\n",
        "proc/device-tree/serial-number": "2222222222222222\0",
        "etc/timezone": "Asia/Tokyo\n",
    }
    for name, content in changes.items():
        if (root / name).exists():
            (root / name).write_text(content)
    for address in root.glob("sys/devices/**/address"):
        address.write_text("02:00:00:00:00:99\n")
    meminfo = root / "proc/meminfo"
    # A few pages more or less are the kernel's own business at each boot.
    total = int(meminfo.read_text().split()[1])
    meminfo.write_text(meminfo.read_text().replace(str(total), str(total - 68), 1))
    after = of_tree(root)
    assert after.digest == before.digest
    assert after.sections["system"].device != before.sections["system"].device
    assert hardware_id(after) != hardware_id(before)


def test_hardware_has_an_identity_that_a_reboot_keeps(device: str) -> None:
    first, again = of_tree(HOSTS / device / "root"), of_tree(HOSTS / device / "root")
    assert len(hardware_id(first)) == 64
    assert hardware_id(first) == hardware_id(again)


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


def _files() -> list[str]:
    names = {
        str(path.relative_to(root))
        for root in HOSTS.glob("*/root")
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    return sorted({*names, "etc/ld.so.cache", "proc/driver/nvidia/version", "run/systemd/container"})


@given(data=st.data())
@settings(max_examples=15)
def test_no_bytes_in_any_file_make_a_capture_fail(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("garbage")
    shreds = st.binary(max_size=60) | st.sampled_from(
        [b"", b"\xff\xfe", b"\0" * 50, b"9" * 5000, b"-1", b": : :\n" * 9]
    )
    for name in _files():
        path = root / name
        if path.parent.exists() and not path.parent.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.draw(shreds))
    found = of_tree(root)
    for name in FILE_SECTIONS:
        assert not found.sections[name].reason.startswith("it failed"), (name, found.sections[name].reason)
    assert decode(encode(found), Fingerprint, "own") == found


def test_no_truncation_of_a_real_devices_files_makes_a_capture_fail(device: str, tmp_path: Path) -> None:
    source = HOSTS / device / "root"
    for share in (0.0, 0.1, 0.5, 0.9):
        root = tmp_path / str(share)
        shutil.copytree(source, root, symlinks=True)
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                path.write_bytes(content[: int(len(content) * share)])
        found = of_tree(root)
        assert {section.reason for section in found.sections.values() if section.status == "error"} == set()
