"""scripts/capture_host.py: a copy of a device tells what the device tells, without saying which it is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from envcheck.cli import envcheck, run_cli
from envcheck.contract.document import decode
from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, shared_fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import FILE_LIMIT, Host, Target

ROOT = Path(__file__).parents[2]
HOSTS = ROOT / "tests" / "hosts"


def script() -> ModuleType:
    # As when it is run: what lies beside it can be imported.
    if str(ROOT / "scripts") not in sys.path:
        sys.path.append(str(ROOT / "scripts"))
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
    found = capture(Target(""), host=Host(root=root, environ={}), sections=SECTION_NAMES)
    assert found.sections["cpu"].status == "ok"
    assert (tmp_path / "one" / "SOURCE.md").read_text().startswith("The machine of a test.\n\nCaptured")
    written = contents(root)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot_id not in written
    for address in Path("/sys/class/net").glob("*/address"):
        mac = address.read_text().strip()
        assert mac in ("02:00:00:00:00:01", "00:00:00:00:00:00", "") or mac not in written
    assert all(os.path.commonpath([root, path.resolve()]) for path in root.rglob("*"))


SECRET = "s3cr3t-of-somebody"


def serving(folder: Path, make_venv: Callable[..., str], make_wheel: Callable[..., Path]) -> str:
    """A virtual environment with the onnxruntime of these tests, and one distribution of every other kind."""
    python = make_venv(folder / "venv", make_wheel(folder, "alpha", "1.0"), make_wheel(folder, "beta", "2.0"))
    site = next((folder / "venv/lib").glob("python3*/site-packages"))
    own = Path(str(find_spec("onnxruntime").origin)).parent  # type: ignore[union-attr]
    shutil.copytree(own / "capi", site / "onnxruntime/capi")
    shutil.copy(own / "__init__.py", site / "onnxruntime")
    (info,) = own.parent.glob("onnxruntime-*.dist-info")
    shutil.copytree(info, site / info.name)
    url = {
        "url": f"https://user:{SECRET}@example.org/a.git",
        "vcs_info": {"vcs": "git", "commit_id": "c0ffee"},
    }
    (site / "alpha-1.0.dist-info/direct_url.json").write_text(json.dumps(url))
    (site / "alpha-1.0.dist-info/METADATA").write_text(f"Name: alpha\nVersion: 1.0\nAuthor: {SECRET}\n")
    (site / "gamma-3.0.egg-info").write_text("Name: gamma\nVersion: 3.0\n")
    (site / "delta.egg-link").write_text("/srv/delta\n")
    (site / "beta/_vendor/epsilon-4.0.dist-info").mkdir(parents=True)
    with zipfile.ZipFile(site / "zeta-5.0-py3.egg", "w", zipfile.ZIP_DEFLATED) as egg:
        egg.writestr("EGG-INFO/PKG-INFO", "Name: zeta\nVersion: 5.0\n")
        egg.writestr("zeta/__init__.py", f"password = '{SECRET}'\n" * 1000)
    (site / "a.pth").write_text(f"import os; secret = '{SECRET}'\n{site}/zeta-5.0-py3.egg\n")
    (folder / "venv/conda-meta").mkdir()
    channel = {
        "channel": f"https://conda.example.org/t/{SECRET}/main",
        "subdir": "linux-64",
        "files": ["lib/x.so"],
    }
    (folder / "venv/conda-meta/libeta-6.0-h1_0.json").write_text(json.dumps(channel))
    return python


def test_the_copy_of_an_interpreter_is_small_and_tells_what_it_tells(
    capture_host: ModuleType,
    tmp_path: Path,
    venv: Callable[..., str],
    wheel: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    python = serving(tmp_path, venv, wheel)
    assert capture_host.main([str(tmp_path / "copy"), "--python", python]) == 0, capsys.readouterr().err
    root = tmp_path / "copy/root"

    def told(*options: str) -> Fingerprint:
        capsys.readouterr()
        assert run_cli(envcheck, ["capture", "--json", "--python", python, *options]) == 0
        return decode(capsys.readouterr().out.encode(), Fingerprint, "captured")

    device, copy = told(), told("--root", str(root))
    assert copy.digest == device.digest
    assert {
        name: section.status for name, section in copy.sections.items() if name != "cuda"
    } == dict.fromkeys(set(SECTION_NAMES) - {"cuda"}, "ok")
    packages = copy.sections["packages"].shared
    assert packages.keys() == {"alpha", "beta", "gamma", "libeta", "onnxruntime", "zeta"}
    assert packages["alpha"]["source"]["commit"] == "c0ffee"
    assert packages["beta"]["vendored"] == {"epsilon": "4.0"}
    assert copy.sections["python"].shared["hooks"] == ["a.pth"]
    assert copy.sections["onnxruntime"].shared["libraries"]
    assert SECRET not in contents(root)
    assert sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) < 2**20


def test_the_variables_of_a_tree_are_those_that_were_captured_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not those of whoever reads an image on another machine."""
    (tmp_path / "usr/lib/python3.11").mkdir(parents=True)
    (tmp_path / ".answers").mkdir()
    monkeypatch.setenv("ORT_READER", "1")
    for kept, expected in ((b"", {}), (b"[1", {}), (b'{"ORT_DEVICE":"2"}', {"ORT_DEVICE": "2"})):
        (tmp_path / ".answers/variables.json").write_bytes(kept)
        assert (
            run_cli(envcheck, ["capture", "--json", "--root", str(tmp_path), "--section", "variables"]) == 0
        )
        found = json.loads(capsys.readouterr().out)["sections"]["variables"]["shared"]
        assert found.get("values", {}) == expected


def test_the_copy_of_a_tree_shares_its_digest_and_none_of_its_identity(
    capture_host: ModuleType, device: str, tmp_path: Path
) -> None:
    source = HOSTS / device / "root"
    assert capture_host.main([str(tmp_path / "copy"), "--root", str(source)]) == 0
    copy, read = tmp_path / "copy" / "root", set[str]()
    first, second = (
        shared_fingerprint(capture(Target(""), host=host, sections=SECTION_NAMES))
        for host in (noting(source, read), Host(root=copy, environ={}))
    )
    assert first.digest == second.digest
    assert filled(copy) - read == set()
    written = contents(copy)
    for name in ("proc/device-tree/serial-number", "etc/hostname", "proc/sys/kernel/random/boot_id"):
        if (source / name).exists():
            identity = (source / name).read_bytes().decode().strip("\0\n")
            # One tree's serial is what others are replaced by.
            assert identity == "1000000000000000" or identity not in written.split()
    assert not re.search(r"02:00:00:00:00:0[2-9a-f]", written)
    assert re.findall(r"(?:GPU|MIG)-(?!00000000-0000-4000-8000-000000000000)[0-9a-f]{8}-", written) == []


def noting(root: Path, read: set[str]) -> Host:
    """A tree that notes in `read` where each file lies that was read, below its root."""

    class Noting(Host):
        def read(self, path: str, limit: int = FILE_LIMIT, at: int = 0) -> bytes:
            read.add(os.path.relpath(self.real(path), root))
            return super().read(path, limit, at)

    return Noting(root=root, environ={})


def filled(root: Path) -> set[str]:
    """The files of a copy that hold anything, below its root; answers are no files of the device."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    names = {str(path.relative_to(root)) for path in files if path.stat().st_size}
    return {name for name in names if not name.startswith(".answers/")}


def test_what_no_capture_asks_for_is_not_copied(capture_host: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "device"
    shutil.copytree(HOSTS / "raspberry-pi-5/root", source, symlinks=True)
    decoys = (
        "etc/shadow", "etc/envcheck/config.yaml", "etc/wpa_supplicant/wpa_supplicant.conf", "proc/1/environ",
        "home/bob/.ssh/id_ed25519", "root/.netrc", "sys/devices/system/cpu/note", "proc/self/environ",
        "sys/class/thermal/thermal_zone0/note", "sys/class/net/note", "etc/os-release.bak", "note",
    )  # fmt: skip
    for name in decoys:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(SECRET)
    assert capture_host.main([str(tmp_path / "copy"), "--root", str(source)]) == 0
    copy, read = tmp_path / "copy/root", set[str]()
    capture(Target(""), host=noting(source, read), sections=SECTION_NAMES)
    assert filled(copy) - read == set()
    assert len(filled(copy)) > 20
    assert SECRET not in contents(copy)


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
