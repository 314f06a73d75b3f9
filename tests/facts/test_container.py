"""Containers, through a stand-in for their engine that starts what `exec` names with other variables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envcheck.errors import BadInput
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target, resolve_target

# As docker 27 answers; podman words the absence otherwise and ends with 125.
ENGINE = """#!/bin/sh
echo "$*" >> {log}
case "$1 $2" in
"container inspect")
    case "$5" in
    app|bare) echo "true 0 sha256:0123abcd" ;;
    stopped) echo "false 0 sha256:0123abcd" ;;
    *) echo "{absent}" >&2; exit {code} ;;
    esac ;;
"exec -i")
    name=$3; shift 3
    [ "$name" = bare ] && {{ echo 'exec: "python3": executable file not found in $PATH' >&2; exit 127; }}
    cd / && exec env -i PATH={path} OMP_NUM_THREADS=3 API_TOKEN=s3cr3t PYTHONPATH={extra} "$@" ;;
*) echo "unknown command" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, venv: Callable[..., str]) -> Callable[..., Host]:
    """A host with an engine on PATH; its containers have a virtual environment of their own."""
    python = Path(venv(tmp_path / "inside"))
    extra = tmp_path / "extra/alpha-1.0.dist-info/METADATA"
    extra.parent.mkdir(parents=True)
    extra.write_text("Name: alpha\nVersion: 1.0\n")

    def make(name: str = "docker", absent: str = "Error: No such container: x", code: int = 1) -> Host:
        folder = tmp_path / "engines"
        folder.mkdir(exist_ok=True)
        text = ENGINE.format(
            log=tmp_path / "log", absent=absent, code=code, path=python.parent, extra=tmp_path / "extra"
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        return Host(environ={"PATH": f"{folder}:/usr/bin:/bin"})

    return make


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_container_is_captured(engine: Callable[..., Host], name: str, tmp_path: Path) -> None:
    host = engine(name)
    found = capture(resolve_target(None, None, container="app", host=host), host=host)
    python = found.sections["python"]
    assert (python.status, python.shared["container"], python.shared["image"]) == (
        "ok",
        name,
        "sha256:0123abcd",
    )
    assert (python.device["prefix"], python.device["container"]) == (str(tmp_path / "inside"), "app")
    assert (python.shared["isolated"], python.shared["pythonpath"]) == (False, True)
    assert found.sections["packages"].shared["alpha"]["version"] == "1.0"
    told = found.sections["variables"].shared
    assert (told["origin"], told["values"]["OMP_NUM_THREADS"]) == ("container", "3")
    assert "s3cr3t" not in repr(found)
    # The probe goes in on standard input: its text is no argument, which other users could see.
    assert "MARKER" not in (tmp_path / "log").read_text()
    # The stand-in tells no process, so nothing of this machine is taken for the container's.
    assert {found.sections[name].status for name in ("system", "cpu", "memory", "cuda")} == {"unreadable"}


def test_files_in_a_container_are_verified_there(
    engine: Callable[..., Host], wheel: Callable[..., Path], tmp_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "inside/bin/python"), "install", "-q"]
    made = wheel(tmp_path / "w", "beta", "1.0")
    subprocess.run([*pip, "--no-index", str(made)], check=True, capture_output=True)
    next((tmp_path / "inside").rglob("beta.py")).write_text("x = 3\n")
    host = engine()
    target = resolve_target(None, None, container="app", host=host)
    found = capture(target, host=host, sections=("packages",), verify=True)
    told = found.sections["packages"].device["verified"]
    assert told["complete"]
    assert [fault["modified"]["names"] for fault in told["found"]] == [["beta.py"]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuch", r"there is no container nosuch \(docker\)"),
        ("stopped", "the container stopped does not run"),
        ("bare", "python3 in the container bare is not a Python 3 interpreter: .*not found"),
        ("--privileged", "no name of a container"),
        ("a b", "no name of a container"),
        ("", "no name"),
    ],
)
def test_what_is_no_running_container_is_told(engine: Callable[..., Host], name: str, said: str) -> None:
    from envcheck.facts.container import container_target

    with pytest.raises(BadInput, match=said):
        container_target(name, None, engine())


def test_each_engine_is_asked(engine: Callable[..., Host]) -> None:
    engine("docker")
    host = engine("podman", 'Error: inspecting object: no such container "x"', 125)
    with pytest.raises(BadInput, match=r"there is no container nosuch \(docker or podman\)"):
        resolve_target(None, None, container="nosuch", host=host)


def test_an_engine_that_does_not_answer_is_no_absent_container(engine: Callable[..., Host]) -> None:
    host = engine("docker", "Cannot connect to the Docker daemon at unix:///run/docker.sock.")
    with pytest.raises(BadInput, match="can't be looked at: docker: Cannot connect"):
        resolve_target(None, None, container="nosuch", host=host)


def test_without_an_engine(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither docker nor podman"):
        resolve_target(None, None, container="app", host=Host(environ={"PATH": str(tmp_path)}))


def test_a_tree_has_no_running_container(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no running container"):
        resolve_target(None, None, container="app", host=Host(root=tmp_path))


def test_the_engine_keeps_the_variables_it_needs(engine: Callable[..., Host]) -> None:
    host = engine()
    target = resolve_target(None, None, container="app", host=host)
    assert target.starting(host) == dict(host.environ)
    assert "OMP_NUM_THREADS" in target.variables(host)
    assert target.command("-c", "pass")[1:4] == ["exec", "-i", "app"]
    assert Target().starting(host) == dict(host.environ)
