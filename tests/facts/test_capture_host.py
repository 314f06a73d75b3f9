"""scripts/capture_host.py: a copy of a device tells what the device tells, without saying which it is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from envcheck.contract.fingerprint import shared_fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target

ROOT = Path(__file__).parents[2]
HOSTS = ROOT / "tests" / "hosts"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("capture_host", ROOT / "scripts" / "capture_host.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["capture_host"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def capture_host() -> ModuleType:
    return script()


def contents(root: Path) -> str:
    return "\n".join(
        f"{path.relative_to(root)}\n{path.read_bytes().decode('latin-1')}"
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def test_this_machines_copy_tells_what_the_machine_tells(
    capture_host: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capture_host.main([str(tmp_path / "one"), "--what", "The machine of a test."]) == 0
    root = tmp_path / "one" / "root"
    found = capture(Target(""), host=Host(root=root, environ={}), sections=capture_host.SECTIONS)
    assert found.sections["cpu"].status == "ok"
    assert (tmp_path / "one" / "SOURCE.md").read_text().startswith("The machine of a test.\n\nCaptured")
    written = contents(root)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot_id not in written
    for address in Path("/sys/class/net").glob("*/address"):
        mac = address.read_text().strip()
        assert mac in ("02:00:00:00:00:01", "00:00:00:00:00:00", "") or mac not in written
    assert all(os.path.commonpath([root, path.resolve()]) for path in root.rglob("*"))


def test_the_copy_of_a_tree_shares_its_digest_and_none_of_its_identity(
    capture_host: ModuleType, device: str, tmp_path: Path
) -> None:
    source = HOSTS / device / "root"
    assert capture_host.main([str(tmp_path / "copy"), "--root", str(source)]) == 0
    copy = tmp_path / "copy" / "root"
    first, second = (
        shared_fingerprint(
            capture(Target(""), host=Host(root=root, environ={}), sections=capture_host.SECTIONS)
        )
        for root in (source, copy)
    )
    assert first.digest == second.digest
    written = contents(copy)
    for name in ("proc/device-tree/serial-number", "etc/hostname", "proc/sys/kernel/random/boot_id"):
        if (source / name).exists():
            identity = (source / name).read_bytes().decode().strip("\0\n")
            # One tree's serial is what others are replaced by.
            assert identity == "1000000000000000" or identity not in written.split()
    assert not re.search(r"02:00:00:00:00:0[2-9a-f]", written)
    assert re.findall(r"(?:GPU|MIG)-(?!00000000-0000-4000-8000-000000000000)[0-9a-f]{8}-", written) == []


def test_what_names_somebody_is_replaced(capture_host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    scrub = capture_host.scrub
    monkeypatch.setenv("USER", "alice")
    group = b"0::/user.slice/docker-" + b"0123456789abcdef" * 4 + b".scope\n"
    assert scrub("/proc/self/cgroup", group) == b"0::/user.slice/docker-000000000000.scope\n"
    assert (
        scrub("/proc/swaps", b"/home/bob/swap file\n/srv/alice\n") == b"/home/user/swap file\n/srv/device\n"
    )
    assert scrub("/proc/cpuinfo", b"Serial\t\t: 10000000abcdef12\nModel: x\n").startswith(
        b"Serial\t\t: 1000000000000000"
    )
    assert (
        scrub("/proc/self/status", b"Name:\tx\nPid:\t7\nCpus_allowed_list:\t0-3\n")
        == b"Cpus_allowed_list:\t0-3\n"
    )
    assert scrub("/proc/thread-self/mountinfo", b"secret server:/x") is None
    nvml = {"gpus": [{"serial": "1324", "uuid": "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"}]}
    told = json.loads(scrub("/.answers/nvml.json", json.dumps(nvml).encode()))
    assert told["gpus"][0] == {"serial": "1000000000000", "uuid": "GPU-00000000-0000-4000-8000-000000000000"}


def test_an_address_in_the_name_of_a_port_is_replaced(capture_host: ModuleType, tmp_path: Path) -> None:
    """systemd names a port after its address where the firmware tells no place for it."""
    source = tmp_path / "device"
    port = source / "sys/devices/pci0000:00/net/enx0242ac11abcd"
    port.mkdir(parents=True)
    (port / "address").write_text("02:42:ac:11:ab:cd\n")
    (port / "addr_assign_type").write_text("0\n")
    (port / "device").symlink_to("../..")
    for name in ("enx0242ac11abcd", "wlx0242ac11ffff"):
        (source / "sys/class/net").mkdir(parents=True, exist_ok=True)
        (source / "sys/class/net" / name).symlink_to(f"../../devices/pci0000:00/net/{name}")
    assert capture_host.main([str(tmp_path / "copy"), "--root", str(source)]) == 0
    copied = [str(path) for path in (tmp_path / "copy").rglob("*")]
    copied += [str(path.readlink()) for path in (tmp_path / "copy").rglob("*") if path.is_symlink()]
    assert any("enx020000000001" in name for name in copied)
    assert [name for name in copied if "0242ac11" in name] == []


def test_a_fixture_is_never_overwritten(
    capture_host: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one" / "root").mkdir(parents=True)
    with pytest.raises(SystemExit) as caught:
        capture_host.main([str(tmp_path / "one")])
    assert caught.value.code == 2
    assert "there already" in capsys.readouterr().err


def test_a_copy_that_tells_something_else_is_a_failure(capture_host: ModuleType) -> None:
    root = HOSTS / "raspberry-pi-4" / "root"
    one = capture(Target(""), host=Host(root=root, environ={}), sections=("cpu",))
    other = capture(
        Target(""), host=Host(root=HOSTS / "raspberry-pi-5" / "root", environ={}), sections=("cpu",)
    )
    assert capture_host.differences(one, one) == []
    assert any(line.startswith("cpu.level: 'armv8.0' here") for line in capture_host.differences(one, other))
