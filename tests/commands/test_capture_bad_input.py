"""What a machine in a bad state costs `envcheck capture`: as little as possible, and never in silence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.elf_files import make_elf
from support.tools import need

from envcheck.cli import envcheck, run_cli
from envcheck.contract.fingerprint import SECTION_NAMES

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and become another user")


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVCHECK_CONFIG", raising=False)


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that every user may enter."""
    path = Path("/tmp") / f"envcheck-bad-{os.getpid()}"
    path.mkdir()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def nobody() -> Iterator[None]:
    """Be another user for a while, in this process: all that is imported late is imported before."""
    for form in ("--format=json", "--format=text"):
        assert run(form, "-o", os.devnull) == 0
    b"".decode("ascii")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def run(*arguments: str) -> int:
    return run_cli(envcheck, ["capture", *arguments])


@as_root
@pytest.mark.parametrize("options", ["size=4k", "size=4k,ro"], ids=["full", "read-only"])
def test_a_full_disk_under_the_cache_and_a_read_only_home(tmp_path: Path, options: str) -> None:
    """The cache is in use: /proc/cpuinfo is empty, so the processor is asked by what keeps its answer."""
    home = tmp_path / "home"
    home.mkdir()
    script = (
        f"mount -t tmpfs -o {options} none {home}; mount --bind /dev/null /proc/cpuinfo; "
        f"[ {options} = size=4k ] && head -c 9999 /dev/zero > {home}/filled 2> /dev/null; "
        f"{sys.executable} -m envcheck capture --json && find {home} -name '*.json' >&2"
    )
    command = [need("unshare"), "--mount", "--propagation", "private", "sh", "-c", script]
    environ = {**os.environ, "HOME": str(home)}
    environ.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    statuses = {name: one["status"] for name, one in json.loads(done.stdout)["sections"].items()}
    assert statuses["cpu"] == "ok"
    assert not {"error", "unreadable"} & set(statuses.values())


@as_root
@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="needs a Python that every user may run")
def test_site_packages_that_may_not_be_read(everybodys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    venv = everybodys / "venv"
    site = venv / "lib/python3.{}/site-packages".format(
        subprocess.check_output(
            [SYSTEM_PYTHON, "-c", "import sys; print(sys.version_info[1])"], text=True
        ).strip()
    )
    site.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to(SYSTEM_PYTHON)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    site.chmod(0)
    with nobody():
        assert run("--python", str(venv / "bin/python"), "--json") == 0
        sections = json.loads(capsys.readouterr().out)["sections"]
        assert run("--python", str(venv / "bin/python")) == 0
    assert sections["packages"]["status"] == "unreadable"
    assert str(site) in sections["packages"]["device"]["unreadable"]
    assert {sections[name]["status"] for name in ("python", "system", "cpu", "memory", "variables")} == {"ok"}
    said = " ".join(capsys.readouterr().out.split())
    assert "run it as a user who may look" in said


def test_an_interpreter_of_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can't be run: its packages are told, and the screen says what that means."""
    venv = tmp_path / "venv"
    info = venv / "lib/python3.11/site-packages/alpha-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: alpha\nVersion: 1.0\n")
    (info / "RECORD").write_text("alpha.py,sha256=abc,1\n")
    (venv / "bin").mkdir()
    program = bytearray(make_elf(64, "little", needed=["libc.so.6"], build_id=b"\1"))
    program[18:20] = (243).to_bytes(2, "little")  # RISC-V
    (venv / "bin/python").write_bytes(program)
    (venv / "bin/python").chmod(0o755)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    assert run("--python", str(venv / "bin/python"), "--json") == 0
    sections = json.loads(capsys.readouterr().out)["sections"]
    assert (sections["python"]["status"], sections["python"]["reason"]) == (
        "skipped",
        "it is built for riscv64",
    )
    assert sections["packages"]["shared"]["alpha"]["version"] == "1.0"
    assert {sections[name]["status"] for name in ("packages", "system", "cpu", "memory")} == {"ok"}
    assert run("--python", str(venv / "bin/python")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the interpreter can't be run on this machine: it is built for riscv64" in said
    assert "asked alone" not in said


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["--python", "/no/such/python"], "there is no interpreter /no/such/python", "--python /opt"),
        (["--python", "/bin/true"], "/bin/true is not a Python 3 interpreter", "name the interpreter"),
        (["--root", "/no/such/root"], "there is no directory /no/such/root", "mounted on"),
        (["--root", "/etc/hostname"], "/etc/hostname can't be read: Not a directory", "mounted on"),
        (["--root", "/dev"], "/dev is no root file system", "mounted on"),
        (["--unit", "no-such-unit-here"], "there is no unit no-such-unit-here.service", "systemctl"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(
    arguments: list[str], said: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"error: {said}")
    assert hint in lines[1]


@as_root
def test_a_root_that_may_not_be_entered(everybodys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (everybodys / "image").mkdir(mode=0o700)
    with nobody():
        assert run("--root", str(everybodys / "image")) == 2
    assert "can't be read: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("engine", "said", "hint"),
    [
        ("echo 'Error: No such container: app' >&2; exit 1", "there is no container app", "see: docker ps"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "can't be looked at", "start the engine"),
        ("sleep 60", "can't be looked at: docker: it did not answer in time", "start the engine"),
        ("echo false 0 sha256:1", "the container app does not run", "docker start app"),
    ],
)
def test_a_container_that_is_not_there(
    tmp_path: Path,
    engine: str,
    said: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{engine}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setattr("envcheck.facts.container._DEADLINE_S", 1.0)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert run("--container", "app") == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[0]
    assert hint in lines[1]


# --- deadlines: what hangs costs its own section, whatever it is that hangs


@pytest.fixture
def bounded(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, dict[str, str]]]:
    """Capture with a deadline of two seconds, and hold it to that."""

    def capture(*arguments: str) -> dict[str, dict[str, str]]:
        begun = time.monotonic()
        assert run(*arguments, "--json", "--deadline", "2") == 0
        assert time.monotonic() - begun < 4
        found = json.loads(capsys.readouterr().out)["sections"]
        assert tuple(sorted(found)) == tuple(sorted(SECTION_NAMES))
        return dict(found)

    return capture


def test_an_interpreter_that_hangs(bounded: Callable[..., dict[str, dict[str, str]]], tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    # The first question, whether it is a Python at all, is answered.
    wrapper.write_text(f'#!/bin/sh\ncase "$*" in *"-S -c"*) exec {sys.executable} "$@" ;; esac\nsleep 60\n')
    wrapper.chmod(0o755)
    found = bounded("--python", str(wrapper))
    for name in ("python", "packages", "onnxruntime"):
        assert (found[name]["status"], "before the deadline" in found[name]["reason"]) == ("error", True)
    assert {found[name]["status"] for name in ("system", "cpu", "memory", "variables")} == {"ok"}
    left = subprocess.run(["pgrep", "-f", str(wrapper)], capture_output=True, text=True)
    assert left.stdout == ""


def test_an_interpreter_that_does_not_even_say_what_it_is(
    bounded: Callable[..., dict[str, dict[str, str]]], tmp_path: Path
) -> None:
    """To find out what it is counts as well."""
    wrapper = tmp_path / "python"
    wrapper.write_text("#!/bin/sh\nsleep 60\n")
    wrapper.chmod(0o755)
    found = bounded("--python", str(wrapper))
    assert found["python"]["status"] == "error"
    assert {found[name]["status"] for name in ("system", "cpu", "memory", "variables")} == {"ok"}


@pytest.mark.parametrize(("tool", "option"), [("docker", "--container"), ("systemctl", "--unit")])
def test_whoever_has_to_be_asked_first_is_bounded_too(
    tmp_path: Path,
    tool: str,
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / tool).write_text("#!/bin/sh\nsleep 60\n")
    (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    begun = time.monotonic()
    assert run(option, "no-such-app", "--deadline", "1") == 2
    assert time.monotonic() - begun < 4
    assert "no-such-app" in capsys.readouterr().err


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in a folder that answers nothing any more, as on a network mount whose server is gone."""
    released = threading.Event()
    folder = tmp_path / "hanging"
    folder.mkdir()

    def hang(path: object) -> None:
        if isinstance(path, (str, Path)) and str(path).startswith(str(folder)):
            released.wait(60)

    def slow(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *arguments: object, **options: object) -> object:
            hang(path)
            return real(path, *arguments, **options)

        return call

    for name in ("lstat", "stat", "open", "access", "listdir", "scandir"):
        monkeypatch.setattr(os, name, slow(getattr(os, name)))
    monkeypatch.setattr(Path, "iterdir", slow(Path.iterdir))
    yield folder / "file"
    released.set()


def test_a_mount_that_hangs_costs_the_interpreters_sections_only(
    bounded: Callable[..., dict[str, dict[str, str]]], hanging: Path
) -> None:
    found = bounded("--python", str(hanging))
    for name in ("python", "packages", "onnxruntime"):
        assert (found[name]["status"], "mount that hangs" in found[name]["reason"]) == ("error", True)
        assert str(hanging) not in found[name]["reason"]
    assert {found[name]["status"] for name in ("system", "cpu", "memory", "variables")} == {"ok"}


def test_a_model_on_a_mount_that_hangs(
    bounded: Callable[..., dict[str, dict[str, str]]], hanging: Path
) -> None:
    found = bounded("--model", str(hanging))
    assert found["variables"]["readings"] == {"model": {"status": "error"}}
    assert {section["status"] for name, section in found.items() if name != "cuda"} == {"ok"}


def test_a_root_on_a_mount_that_hangs(hanging: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    assert run("--root", str(hanging.parent), "--deadline", "1") == 3
    assert time.monotonic() - begun < 3
    assert f"{hanging.parent} did not answer" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--python", sys.executable)])
def test_variables_that_nobody_writes(
    tmp_path: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A named pipe blocks whoever opens it, until somebody writes."""
    pipe = tmp_path / "app.env"
    os.mkfifo(pipe)
    begun = time.monotonic()
    assert run("--env-file", str(pipe), *more, "--deadline", "1") == 3
    assert time.monotonic() - begun < 3
    said = capsys.readouterr().err
    assert str(pipe) in said
    assert "did not answer" in said
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_configuration_that_nobody_writes(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    if by == "variable":
        monkeypatch.setenv("ENVCHECK_CONFIG", str(pipe))
    # A process of its own: it ends in time although the pipe is never opened.
    given = ("--config", str(pipe)) if by == "option" else ()
    command = [sys.executable, "-m", "envcheck", "capture", *given, "--deadline", "1"]
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert time.monotonic() - begun < 3
    assert (done.returncode, done.stdout) == (3, "")
    said, hint = done.stderr.splitlines()
    assert said.startswith(f"error: the configuration {pipe} did not answer in")
    assert "a pipe that nobody writes" in hint


def test_named_pipes_in_the_place_of_files_of_a_tree(
    bounded: Callable[..., dict[str, dict[str, str]]], tmp_path: Path
) -> None:
    for name in (
        "etc/os-release", "etc/ld.so.cache", "proc/cpuinfo", "proc/meminfo", "proc/self/status",
        "proc/self/cgroup", "sys/devices/system/cpu/online", "usr/lib/python3.11/x.py",
        "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    (tmp_path / "etc/hostname").write_text("press-07\n")
    found = bounded("--root", str(tmp_path))
    assert found["system"]["device"] == {"hostname": "press-07"}
    assert found["system"]["status"] == "ok"
    assert (found["cpu"]["status"], found["memory"]["status"]) == ("absent", "absent")
    assert found["packages"]["status"] == "ok"


HANGS = """
#include <unistd.h>
int nvmlInit_v2(void) { for (;;) pause(); }
"""


def test_a_gpu_library_that_hangs(tmp_path: Path) -> None:
    """Where a device node is, its library is asked; one that never answers costs a fact of one section."""
    if not (os.geteuid() == 0 and shutil.which("unshare")):
        pytest.skip("only root may make a device node")
    (tmp_path / "hangs.c").write_text(HANGS)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(
        [need("gcc"), "-shared", "-fPIC", "-o", str(library), str(tmp_path / "hangs.c")], check=True
    )
    # A device folder of its own: the node of the memory device stands for a GPU's.
    script = (
        f"mkdir {tmp_path}/dev; mount -t tmpfs none {tmp_path}/dev; mknod {tmp_path}/dev/nvidia0 c 1 3; "
        f"for name in null urandom zero; do mknod -m 666 {tmp_path}/dev/$name c 1 3; done; "
        f"mount --bind {tmp_path}/dev /dev; "
        f"exec {sys.executable} -m envcheck capture --json --deadline 2"
    )
    begun = time.monotonic()
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 8
    found = json.loads(done.stdout)["sections"]
    assert found["cuda"]["shared"]["nodes"] == ["nvidia0"]
    assert "deadline" in found["cuda"]["shared"]["nvml"]
    assert {found[name]["status"] for name in ("python", "packages", "system", "cpu", "memory")} == {"ok"}
