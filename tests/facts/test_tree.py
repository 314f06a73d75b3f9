"""An interpreter that is only read: in an image, in a captured tree, or built for another machine."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from support.installed import ASKED, Venv, Wheel, asked, packages

from envcheck.contract.fingerprint import Fingerprint, Section
from envcheck.errors import BadInput
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target, resolve_target


def test_files_tell_what_each_python_would(any_python: Path) -> None:
    """Every Python here, asked and only read: the same packages, version, tags."""
    python = str(any_python.absolute())
    running, reading = asked(python), capture(Target(python, unasked="a test"), sections=ASKED)
    assert reading.sections["packages"].shared == running.sections["packages"].shared
    assert reading.sections["onnxruntime"] == _timed(reading, running, "onnxruntime")
    told, real = reading.sections["python"], running.sections["python"]
    assert (told.status, told.reason) == ("skipped", "a test")
    same = ("implementation", "version", "tag", "abi", "machine", "bits", "byteorder", "environment")
    assert {name: told.shared.get(name) for name in same} == {name: real.shared.get(name) for name in same}
    assert [folder for folder in real.device["path"] if folder.endswith("-packages")] == [
        folder for folder in told.device["path"] if folder.endswith("-packages")
    ]


def _timed(one: Fingerprint, other: Fingerprint, name: str) -> Section:
    return msgspec.structs.replace(other.sections[name], duration_ms=one.sections[name].duration_ms)


@pytest.fixture
def image(tmp_path: Path, wheel: Wheel, venv: Venv) -> Path:
    """A root file system with a system Python as Debian has it, and an application."""
    root = tmp_path / "image"
    for folder in ("etc", "usr/bin", "usr/lib/python3.11/lib-dynload", "usr/lib/python3/dist-packages"):
        (root / folder).mkdir(parents=True)
    (root / "usr/lib/python3.11/lib-dynload/_json.cpython-311-aarch64-linux-gnu.so").write_bytes(b"")
    _metadata(root / "usr/lib/python3/dist-packages", "PyYAML", "6.0")
    _metadata(root / "opt/app/venv/lib/python3.11/site-packages", "alpha", "1.0")
    _metadata(root / "opt/extra", "beta", "2.0")
    (root / "opt/app/venv/lib/python3.11/site-packages/extra.pth").write_text("/opt/extra\n")
    (root / "opt/app/venv/bin").mkdir()
    (root / "opt/app/venv/pyvenv.cfg").write_text(
        "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n"
    )
    (root / "usr/bin/python3.11").write_bytes(AARCH64)
    (root / "usr/bin/python3.11").chmod(0o755)
    (root / "usr/bin/python3").symlink_to("python3.11")
    (root / "opt/app/venv/bin/python").symlink_to("/usr/bin/python3")
    return root


def _metadata(folder: Path, name: str, version: str) -> None:
    (folder / f"{name}-{version}.dist-info").mkdir(parents=True)
    (folder / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")


def elf(machine: int, loader: bytes) -> bytes:
    """The head of a 64-bit little-endian program with one program header that names its loader."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + machine.to_bytes(2, "little")
    header += (
        bytes(12) + (64).to_bytes(8, "little") + bytes(14) + (56).to_bytes(2, "little") + b"\1\0" + bytes(6)
    )
    size = len(loader).to_bytes(8, "little")
    program = (
        (3).to_bytes(4, "little")
        + bytes(4)
        + (120).to_bytes(8, "little")
        + bytes(16)
        + size
        + size
        + bytes(8)
    )
    return header + program + loader


AARCH64 = elf(183, b"/lib/ld-linux-aarch64.so.1\0") + b"noise\x003.11.2\0noise"


def in_image(root: Path, python: str | None = None, environ: Path | None = None) -> Fingerprint:
    host = Host(root=root, environ={})
    target = resolve_target(python, str(environ) if environ else None, host=host)
    return capture(target, host=host)


def test_a_mounted_image_is_read_without_running_anything(image: Path) -> None:
    found = in_image(image, "/opt/app/venv/bin/python")
    python = found.sections["python"]
    assert (python.status, python.reason) == ("skipped", "it was not run: only its files are here")
    assert python.shared == {
        "implementation": "CPython", "version": "3.11.2", "tag": "cp311",
        "abi": "cpython-311-aarch64-linux-gnu",
        "machine": "aarch64", "bits": 64, "byteorder": "little", "libc": {"name": "glibc"},
        "environment": "venv", "isolated": True, "path_files": ["extra.pth"],
    }  # fmt: skip
    assert {name: entry["version"] for name, entry in packages(found).items()} == {
        "alpha": "1.0",
        "beta": "2.0",
    }


def test_the_system_python_of_an_image_is_found(image: Path) -> None:
    found = in_image(image)
    assert found.sections["python"].device["executable"] == "/usr/bin/python3"
    assert found.sections["python"].shared["version"] == "3.11.2"
    assert list(packages(found)) == ["pyyaml"]
    shared = image / "opt/app/venv/pyvenv.cfg"
    shared.write_text(shared.read_text().replace("= false", "= true"))
    assert list(packages(in_image(image, "/opt/app/venv/bin/python"))) == ["alpha", "beta", "pyyaml"]


def test_a_tree_with_packages_but_no_program(image: Path) -> None:
    (image / "usr/bin/python3.11").unlink()
    found = in_image(image)
    assert list(packages(found)) == ["pyyaml"]
    assert found.sections["python"].shared["version"] == "3.11"


def test_a_search_path_that_the_service_has(image: Path, tmp_path: Path) -> None:
    environ = tmp_path / "app.env"
    environ.write_text("PYTHONPATH=/opt/extra\n")
    found = in_image(image, "/usr/bin/python3", environ)
    assert list(packages(found)) == ["beta", "pyyaml"]
    assert found.sections["python"].shared["pythonpath"]


def test_an_interpreter_for_another_machine_is_read(image: Path) -> None:
    foreign = str(image / "usr/bin/python3")
    target = resolve_target(foreign, None, on_disk=True)
    if not target.unasked:
        pytest.skip(reason="this machine runs programs of that other one (binfmt)")
    found = capture(target)
    assert found.sections["python"].reason == "it is built for aarch64"
    assert list(packages(found)) == ["pyyaml"]
    assert found.sections["onnxruntime"].status == "absent"


def test_an_interpreter_whose_loader_is_not_here_is_read(image: Path) -> None:
    machine = {"x86_64": 62, "aarch64": 183}.get(os.uname().machine)
    if machine is None:
        pytest.skip(reason="only for the two machines that the test has programs of")
    (image / "usr/bin/python3.11").write_bytes(elf(machine, b"/lib/ld-of-elsewhere.so.1\0"))
    target = resolve_target(str(image / "usr/bin/python3"), None, on_disk=True)
    assert target.unasked == "its loader ld-of-elsewhere.so.1 is not here"
    with pytest.raises(BadInput, match="can't be run here"):
        resolve_target(str(image / "usr/bin/python3"), None)


def test_a_program_for_another_machine_that_is_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(AARCH64)
    (tmp_path / "busybox").chmod(0o755)
    with pytest.raises(BadInput, match="is not a Python 3 interpreter"):
        resolve_target(str(tmp_path / "busybox"), None, on_disk=True)
