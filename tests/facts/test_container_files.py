"""A container's own files and limits: a real process in a root directory and mount name space of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.elf_files import ld_cache, make_elf

from envcheck.cli import envcheck, run_cli
from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput
from envcheck.facts.container import container_target
from envcheck.facts.gather import capture
from envcheck.facts.host import Host

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "chroot", "mount", "taskset"))),
    reason="only root may give a process another root directory",
)

# What an engine does: a mount name space, a root directory, a process in it that keeps running.
ROOM = """\
for folder in /usr {base}; do mkdir -p {root}$folder; mount --rbind $folder {root}$folder; done
mkdir -p {root}/proc && mount -t proc proc {root}/proc
exec taskset -c {cpu} chroot {root} {python} -c 'import time; print("up", flush=True); time.sleep(300)'
"""
# As docker answers; `exec` enters the process's name space and root, as an engine's does.
ENGINE = """\
#!/bin/sh
case "$1 $2" in
"container inspect") echo "true {told} sha256:0123abcd" ;;
"exec -i") shift 3; exec nsenter --target {pid} --mount --root --wd env -i PATH=/opt/venv/bin ORT_X=1 "$@" ;;
esac
"""
OS_RELEASE = 'ID=roomos\nVERSION_ID=7\nPRETTY_NAME="Room OS 7"\n'
CAPI = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/onnxruntime/capi"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The root directory of a running process, and its id."""
    root = tmp_path_factory.mktemp("room") / "root"
    venv = root / "opt/venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    capi = venv / CAPI
    capi.mkdir(parents=True)
    provider = make_elf(64, "little", needed=["libcudnn.so.9", "libcudart.so.12"], build_id=b"\x01")
    (capi / "libonnxruntime_providers_cuda.so").write_bytes(provider)
    (capi.parent / "__init__.py").write_text('__version__ = "1.20.0"\n')
    (capi.parents[1] / "nvidia/cublas/lib").mkdir(parents=True)
    (capi.parents[1] / "nvidia/cublas/lib/libcublas.so.12").touch()
    for name in ("etc", "tmp", "dev", "opt/cuda"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path(f"/{name}").exists():
            (root / name).symlink_to(f"usr/{name}")
    (root / "etc/os-release").write_text(OS_RELEASE)
    (root / "etc/ld.so.cache").write_bytes(
        ld_cache([b"libcudart.so.12", b"libcudnn.so.9", b"libcufft.so.11"], b"/opt/cuda/")
    )
    (root / "opt/cuda/libcudart.so.12").touch()
    (root / "opt/cuda/libcudnn.so.9.1.0").touch()
    # A link that would lead out of the root when it is read from outside.
    (root / "opt/cuda/libcudnn.so.9").symlink_to("/opt/cuda/libcudnn.so.9.1.0")
    (root / "opt/model.onnx").write_bytes(b"abc")
    script = ROOM.format(
        root=root, base=sys.base_prefix, python=sys.executable, cpu=min(os.sched_getaffinity(0))
    ).replace(sys.executable, "/opt/venv/bin/python")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield root, process.pid
        process.kill()


@pytest.fixture
def engine(room: tuple[Path, int], open_folder: Path) -> Callable[..., Host]:
    """A host whose engine runs the room as a container, and may tell another process's id."""

    def make(told: int | None = None) -> Host:
        program = open_folder / "docker"
        program.write_text(ENGINE.format(pid=room[1], told=room[1] if told is None else told))
        program.chmod(0o755)
        return Host(environ={"PATH": f"{open_folder}:/usr/sbin:/usr/bin:/sbin:/bin"})

    return make


def captured(host: Host) -> Fingerprint:
    return capture(container_target("app", None, host), host=host)


def test_files_and_limits_are_the_containers(engine: Callable[..., Host], room: tuple[Path, int]) -> None:
    found = captured(engine()).sections
    assert {name: section.status for name, section in found.items()} == {
        **dict.fromkeys(found, "ok"),
        "cuda": found["cuda"].status,
    }
    assert found["system"].shared["os"] == {
        "id": "roomos", "version_id": "7", "name": "Room OS 7",
    }  # fmt: skip
    name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # type: ignore[union-attr]
    assert found["system"].shared["libc"] == {"name": name, "version": version}
    assert found["onnxruntime"].shared["needs"] == {"cuda": ["12"], "cudnn": ["9"]}
    # What the cache names and is gone (cuFFT) is not found by the loader either.
    assert found["cuda"].shared["libraries"] == ["libcudart.so.12", "libcudnn.so.9"]
    assert found["cuda"].shared["runtimes"]["libcudnn.so.9"] == {"version": "9.1.0", "origin": "ld.so.cache"}
    assert found["cuda"].shared["runtimes"]["libcublas.so.12"]["origin"] == "pip"
    assert found["cpu"].device["affinity"] == [min(os.sched_getaffinity(0))]
    # The machine below it is this one.
    own = capture(container_target("app", None, engine()), host=Host(), sections=["system"])
    assert own.sections["system"].shared["kernel"] == os.uname().release


def test_memory_is_limited_as_the_containers_group_is(
    engine: Callable[..., Host], room: tuple[Path, int]
) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"envcheck-{room[1]}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(512 << 20))
        (group / "cgroup.procs").write_text(str(room[1]))
    except OSError as error:
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    try:
        assert captured(engine()).sections["memory"].shared["limit_mib"] == 512
    finally:
        (group.parent / "cgroup.procs").write_text(str(room[1]))
        group.rmdir()


@pytest.mark.parametrize(
    "told", [0, os.getpid(), 4194303], ids=["another name space", "this process", "no process"]
)
def test_another_process_is_never_taken_for_the_containers(engine: Callable[..., Host], told: int) -> None:
    """An engine elsewhere, or in another name space of processes, counts them otherwise."""
    found = captured(engine(told)).sections
    for name in ("system", "cpu", "memory", "cuda", "onnxruntime"):
        assert found[name].status == "unreadable", name
        assert "may not" in found[name].reason
    assert "os" not in found["system"].shared or found["system"].shared["os"] == {}
    assert found["system"].shared["kernel"] == os.uname().release
    assert "affinity" not in found["cpu"].shared
    assert "quota" not in found["cpu"].shared
    assert "libraries" not in found["cuda"].shared
    assert found["onnxruntime"].shared["version"] == "1.20.0"
    assert "needs" not in found["onnxruntime"].shared
    assert found["packages"].status == "ok"


def test_a_container_of_another_machine_tells_nothing_of_this_one(
    engine: Callable[..., Host], room: tuple[Path, int]
) -> None:
    answered = Host.read

    class Elsewhere(Host):
        """A machine that was booted another time."""

        def read(self, path: str, limit: int = 1 << 22, at: int = 0) -> bytes:
            return b"another\n" if path.endswith("/boot_id") else answered(self, path, limit, at)

    host = Elsewhere(environ=engine().environ)
    found = captured(host).sections
    for name in ("system", "cpu", "memory", "cuda"):
        assert (found[name].status, found[name].shared) == ("unreadable", {}), name
        assert "another kernel" in found[name].reason
    assert found["onnxruntime"].status == "unreadable"
    assert found["python"].status == "ok"


def test_the_model_in_a_container_is_read_there(
    engine: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", engine().environ["PATH"])
    asked = ["capture", "--container", "app", "--section", "variables", "--json", "--model"]
    assert run_cli(envcheck, [*asked, "/opt/model.onnx"]) == 0
    told = json.loads(capsys.readouterr().out)["sections"]["variables"]
    assert told["readings"]["model"]["size"] == 3
    assert run_cli(envcheck, [*asked, "/opt/none.onnx"]) == 2
    assert "in the container app" in capsys.readouterr().err
    engine(told=1)
    assert run_cli(envcheck, [*asked, "/opt/model.onnx"]) == 2
    assert "may not see" in capsys.readouterr().err


def test_a_container_without_python(engine: Callable[..., Host]) -> None:
    with pytest.raises(BadInput, match="python9 in the container app is not a Python 3 interpreter"):
        container_target("app", "python9", engine())
