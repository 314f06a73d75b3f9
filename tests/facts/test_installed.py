"""Packages of every kind, really installed, in real interpreters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from support.interpreters import interpreters
from support.projects import make_project
from support.tools import missing

from envcheck.contract.fingerprint import Fingerprint, Section
from envcheck.errors import BadInput
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target, resolve_target

ASKED = ("python", "packages", "onnxruntime")
Wheel = Callable[..., Path]
Venv = Callable[..., str]


def asked(python: str | Path, environ: dict[str, str] | None = None) -> Fingerprint:
    return capture(Target(str(python), environ), sections=ASKED)


def packages(found: Fingerprint) -> dict[str, Any]:
    assert found.sections["packages"].status == "ok", found.sections["packages"]
    return found.sections["packages"].shared


def site_of(python: str) -> Path:
    return next(Path(python).parents[1].glob("lib/python3*/site-packages"))


def pip(python: str, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
        "-q",
        *arguments,
    ]
    subprocess.run(command, check=True, capture_output=True)


def python_of_all() -> str:
    """A Python that every user may run: those of one user's own folder are out of reach."""
    for python in [Path("/usr/bin/python3"), *interpreters().values()]:
        if not python.exists():
            continue
        real = python.resolve()
        if all(folder.stat().st_mode & 1 for folder in real.parents):
            return str(python)
    missing("no Python that every user may run is here")
    return ""


CONDA = {
    "numpy-1.26.4-py311_mkl_0.json": {
        "build": "py311_mkl_0",
        "channel": "https://conda.example/t/tk-s3cr3t/main/linux-64",
        "files": ["lib/python3.11/site-packages/numpy-1.26.4.dist-info/METADATA"],
        "subdir": "linux-64",
    },
    "pytorch-2.3.0-cpu_0.json": {
        "build": "cpu_0",
        "channel": "https://u:s3cr3t@conda.example/pytorch",
        "files": ["lib/python3.11/site-packages/torch-2.3.0.dist-info/RECORD"],
    },
    "mkl-2023.1.0-h213fc3f_46344.json": {"build": "h213fc3f_46344", "channel": "conda-forge", "files": []},
    "history": {},
    "broken-1.0-0.json": None,
}


def test_a_conda_environment(tmp_path: Path) -> None:
    """A prefix as conda lays it out: its own python with conda-meta beside."""
    prefix = tmp_path / "env"
    base = Path(os.path.realpath(sys.executable))
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if "deb_system" in sysconfig.get_scheme_names():
        pytest.skip("Debian's own Python has no site-packages, whatever its prefix: conda's has")
    (prefix / "bin").mkdir(parents=True)
    shutil.copy2(base, prefix / "bin/python")
    (prefix / "lib" / library).mkdir(parents=True)
    for item in (base.parents[1] / "lib" / library).iterdir():
        if item.name != "site-packages":
            (prefix / "lib" / library / item.name).symlink_to(item)
    for item in (base.parents[1] / "lib").glob("libpython*"):
        (prefix / "lib" / item.name).symlink_to(item)
    site = prefix / "lib" / library / "site-packages"
    for name, version in (("numpy", "1.26.4"), ("torch", "2.3.0")):
        (site / f"{name}-{version}.dist-info").mkdir(parents=True)
        (site / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (site / f"{name}-{version}.dist-info/INSTALLER").write_text("conda")
    (prefix / "conda-meta").mkdir()
    for file, meta in CONDA.items():
        (prefix / "conda-meta" / file).write_text("{ broken" if meta is None else json.dumps(meta))

    found = asked(prefix / "bin/python")
    assert found.sections["python"].shared["environment"] == "conda"
    told = packages(found)
    assert told["numpy"]["conda"] == {
        "build": "py311_mkl_0", "channel": "https://conda.example/main/linux-64", "subdir": "linux-64",
    }  # fmt: skip
    # conda calls it by another name; the file that it installed tells.
    assert told["torch"]["conda"] == {"build": "cpu_0", "channel": "https://conda.example/pytorch"}
    assert "pytorch" not in told
    assert told["mkl"] == {
        "version": "2023.1.0", "kind": "conda",
        "conda": {"build": "h213fc3f_46344", "channel": "conda-forge"},
    }  # fmt: skip
    assert told["broken"]["version"] == "1.0"
    assert "s3cr3t" not in repr(found)


def test_zips_on_the_path(tmp_path: Path, wheel: Wheel, venv: Venv) -> None:
    python = venv(tmp_path / "venv")
    made = wheel(tmp_path / "w", "alpha", "1.0")
    egg = tmp_path / "beta-2.0-py3.11.egg"
    shutil.make_archive(str(tmp_path / "beta"), "zip", _egg_folder(tmp_path / "beta-egg"))
    (tmp_path / "beta.zip").rename(egg)
    (tmp_path / "broken.egg").write_bytes(b"PK no zip")
    (site_of(python) / "zips.pth").write_text(f"{made}\n{egg}\n{tmp_path / 'broken.egg'}\n")
    code = "import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
    real = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    found = asked(python)
    told = packages(found)
    assert [told[name]["version"] for name in ("alpha", "beta")] == ["1.0", "2.0"]
    assert told["alpha"]["zipped"]
    assert told["alpha"]["tags"] == ["py3-none-any"]
    assert told["beta"]["kind"] == "egg"
    assert told["broken"]["broken"] == "it is no zip that can be read"
    assert found.sections["python"].shared["path_files"] == ["zips.pth"]
    assert "('alpha', '1.0'), ('beta', '2.0')" in real.stdout
    # The same wheel, installed, is the same build.
    installed = packages(asked(venv(tmp_path / "other", made)))
    assert installed["alpha"]["build"] == told["alpha"]["build"]


def _egg_folder(folder: Path) -> Path:
    (folder / "EGG-INFO").mkdir(parents=True)
    (folder / "EGG-INFO/PKG-INFO").write_text("Metadata-Version: 1.0\nName: beta\nVersion: 2.0\n")
    (folder / "beta.py").write_text("x = 1\n")
    return folder


@pytest.mark.parametrize("editable", [True, False])
def test_local_and_editable_installations(tmp_path: Path, venv: Venv, editable: bool) -> None:
    python = venv(tmp_path / "venv")
    source = make_project(tmp_path / "source", "gamma", "3.0")
    options = ["--no-build-isolation", "--no-deps", "--no-index", *(["-e"] if editable else [])]
    pip(python, "install", *options, str(source))
    found = asked(python)
    told = packages(found)["gamma"]
    assert told["version"] == "3.0"
    assert told["source"] == {"kind": "editable" if editable else "local"}
    assert bool(told.get("build")) is not editable
    assert found.sections["packages"].device["sources"] == {"gamma": f"file://{source}"}


def test_what_came_from_version_control(tmp_path: Path, venv: Venv, wheel: Wheel) -> None:
    python = venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0"))
    info = site_of(python) / "alpha-1.0.dist-info"
    (info / "direct_url.json").write_text(json.dumps({
        "url": "https://me:s3cr3t@git.example/alpha.git", "subdirectory": "python",
        "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "c0ffee"},
    }))  # fmt: skip
    found = asked(python)
    assert packages(found)["alpha"]["source"] == {
        "kind": "vcs", "vcs": "git", "url": "https://git.example/alpha.git", "commit": "c0ffee",
        "revision": "main", "subdirectory": "python",
    }  # fmt: skip
    assert "s3cr3t" not in repr(found)


def test_vendored_copies_are_marked_and_no_packages(tmp_path: Path, venv: Venv, wheel: Wheel) -> None:
    python = venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0"))
    site = site_of(python)
    for owner, name in (("alpha", "packaging-24.2"), ("other", "tomli-2.0.1"), ("nobody", "attrs-1.0")):
        (site / owner / "_vendor" / f"{name}.dist-info").mkdir(parents=True)
    with (site / "alpha-1.0.dist-info/RECORD").open("a") as record:
        record.write("other/_vendor/tomli.py,sha256=abc,1\n")
    told = packages(asked(python))
    assert told["alpha"]["vendored"] == {"packaging": "24.2", "tomli": "2.0.1"}
    assert set(told) == {"alpha"}


def test_vendored_copies_of_what_is_installed_here() -> None:
    told = packages(asked(sys.executable))
    for folder in site_of(sys.executable).glob("*/_vendor"):
        inside = {item.name.partition("-")[0].lower() for item in folder.glob("*.dist-info")}
        named = {name.replace("-", "_") for name in told[folder.parent.name].get("vendored", {})}
        assert {name.replace(".", "_") for name in inside} == named


def test_the_user_site_is_marked(tmp_path: Path, wheel: Wheel) -> None:
    base = os.path.realpath(sys.executable)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = tmp_path / f"lib/{version}/site-packages"
    pip(
        base,
        "install",
        "--no-index",
        "--no-deps",
        "--target",
        str(site),
        str(wheel(tmp_path / "w", "alpha", "1")),
    )
    environ = {"PYTHONUSERBASE": str(tmp_path)}
    found = asked(base, environ)
    assert packages(found)["alpha"]["user_site"]
    assert found.sections["python"].shared["user_site"]
    assert found.sections["python"].device["user_folder"] == str(site)
    assert "alpha" not in packages(asked(base))


def test_site_configuration(tmp_path: Path, venv: Venv) -> None:
    python = venv(tmp_path / "venv")
    site = site_of(python)
    (site / "sitecustomize.py").write_text("")
    (site / "hook.pth").write_text("import os\n")
    (site / "both.pth").write_text(f"import os\n{tmp_path}\n")
    python_section = asked(python, {"PYTHONPATH": str(tmp_path)}).sections["python"].shared
    assert python_section["hooks"] == ["both.pth", "hook.pth"]
    assert python_section["path_files"] == ["both.pth"]
    assert python_section["customised"] == ["sitecustomize"]
    assert python_section["pythonpath"]
    assert "system_site" not in python_section
    config = tmp_path / "venv/pyvenv.cfg"
    config.write_text(config.read_text().replace("= false", "= true"))
    assert asked(python).sections["python"].shared["system_site"]


def test_what_may_not_be_read_is_told_and_all_else_too(
    open_folder: Path, wheel: Wheel, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    extra = open_folder / "extra"
    extra.mkdir()
    command = [python_of_all(), "-m", "venv", "--without-pip", str(open_folder / "venv")]
    subprocess.run(command, check=True)
    python = str(open_folder / "venv/bin/python")
    pip(python, "install", "--no-index", *(str(wheel(open_folder / "w", n, "1")) for n in ("alpha", "beta")))
    (site_of(python) / "extra.pth").write_text(f"{extra}\n")
    record = site_of(python) / "alpha-1.dist-info/RECORD"
    metadata = site_of(python) / "beta-1.dist-info/METADATA"
    record.chmod(0)
    metadata.chmod(0)
    with unprivileged():
        found = asked(python)
    told = packages(found)
    assert told["alpha"]["broken"] == "its RECORD may not be read"
    assert told["beta"]["broken"] == "its METADATA may not be read"
    assert told["beta"]["version"] == "1"
    extra.chmod(0)
    with unprivileged():
        found = asked(python)
    section = found.sections["packages"]
    assert (section.status, section.reason) == (
        "unreadable", "1 of the folders to import from may not be read",
    )  # fmt: skip
    assert set(section.shared) == {"alpha", "beta"}
    assert found.sections["python"].status == "ok"
    extra.chmod(0o755)


def test_a_folder_in_the_place_of_metadata_is_no_refusal(tmp_path: Path, venv: Venv) -> None:
    python = venv(tmp_path / "venv")
    (site_of(python) / "alpha-1.0.dist-info/METADATA").mkdir(parents=True)
    found = asked(python)
    assert packages(found)["alpha"]["broken"] == "it has no metadata"
    assert not found.sections["packages"].device.get("unreadable")


def comparable(section: Section) -> dict[str, Any]:
    return {"status": section.status, **section.shared}


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
    import msgspec

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
