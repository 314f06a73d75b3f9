"""Services: as systemd tells them, as their files say, and as they run."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.errors import BadInput
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target, resolve_target
from envcheck.facts.running import parse_environ, parse_limits
from envcheck.facts.unit import find_unit
from envcheck.facts.unit_command import interpreter_of
from envcheck.facts.unit_files import parse_unit, read_unit

Tree = Callable[[dict[str, str | bytes]], Host]

# What systemd 252 printed for a service with these settings; PYTHON and PID stand for what a test puts there.
SHOWN = """\
MainPID=@PID@
ExecStart={ path=@PYTHON@ ; argv[]=@PYTHON@ -m app ; ignore_errors=no ; start_time=[n/a] ; pid=0 }
CPUQuotaPerSecUSec=1.500000s
MemoryMax=536870912
Environment=OMP_NUM_THREADS=2 "ORT_TWO=two words" "ORT_QUOTE=it\\"s" MY_TOKEN=s3cr3t
EnvironmentFiles=@FILE@ (ignore_errors=no)
EnvironmentFiles=/etc/default/nothing-there (ignore_errors=yes)
LimitNOFILESoft=4096
LimitASSoft=infinity
LimitSTACKSoft=@STACK@
LimitMEMLOCKSoft=65536
CPUAffinity=0
LoadState=loaded
"""
STAND_IN = """#!/bin/sh
case "$*" in
*"--property=Environment") echo 'Environment=LANG=C.UTF-8 PATH=/usr/bin:/bin' ;;
*" -- app.service") cat {shown} ;;
*" -- masked.service") echo LoadState=masked ;;
*) echo MainPID=0; echo LoadState=not-found ;;
esac
"""


def stack() -> str:
    """The stack limit here: a test may not raise it to what systemd's default is."""
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    return "infinity" if soft == resource.RLIM_INFINITY else str(soft)


@pytest.fixture
def systemd(tmp_path: Path) -> Callable[..., Host]:
    """A host whose `systemctl` answers as systemd's own did."""

    def make(python: str = sys.executable, pid: int = 0) -> Host:
        (tmp_path / "app.env").write_text("ORT_FROM_FILE=3\nOMP_NUM_THREADS=4\n")
        told = SHOWN.replace("@PYTHON@", python).replace("@PID@", str(pid)).replace("@STACK@", stack())
        (tmp_path / "shown").write_text(told.replace("@FILE@", str(tmp_path / "app.env")))
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin/systemctl"
        program.write_text(STAND_IN.format(shown=tmp_path / "shown"))
        program.chmod(0o755)
        return Host(environ={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})

    return make


@pytest.fixture
def service() -> Iterator[Callable[..., int]]:
    """Start processes as a service manager would, and end them after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], environ: dict[str, str]) -> int:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_unit_that_does_not_run_is_as_it_would_start(systemd: Callable[..., Host]) -> None:
    unit = find_unit("app", systemd())
    assert (unit.name, unit.python, unit.pid) == ("app.service", sys.executable, 0)
    assert unit.environ == {
        "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "4", "ORT_TWO": "two words",
        "ORT_QUOTE": 'it"s', "MY_TOKEN": "s3cr3t", "ORT_FROM_FILE": "3",
    }  # fmt: skip
    assert unit.affinity == [0]
    wanted = {"nofile": 4096, "as": None, "memlock": 65536}
    assert {name: unit.limits[name] for name in wanted} == wanted
    assert (unit.cpu_quota, unit.memory_mib) == (1.5, 512)


def test_a_capture_tells_the_unit_and_no_secret(systemd: Callable[..., Host]) -> None:
    host = systemd()
    found = capture(resolve_target(None, None, unit="app", host=host), host=host)
    told = found.sections["variables"].shared
    assert told["origin"] == "unit"
    limits = told["unit"].pop("limits")
    assert (limits["nofile"], limits["memlock"]) == (4096, 65536)
    assert told["unit"] == {
        "name": "app.service", "affinity": [0],
        "cpu_quota": 1.5, "memory_mib": 512,
    }  # fmt: skip
    assert told["values"]["ORT_TWO"] == "two words"
    assert "s3cr3t" not in repr(found)
    assert not found.sections["python"].shared["isolated"]


PROGRAM = "import sys, time; print('up', flush=True); time.sleep(60)"


def test_the_running_process_counts(systemd: Callable[..., Host], service: Callable[..., int]) -> None:
    environ = {"ORT_RUNNING": "1", "PATH": "/usr/bin:/bin"}
    pid = service([sys.executable, "-c", PROGRAM], environ)
    unit = find_unit("app", systemd("/usr/bin/false", pid))
    assert (unit.pid, unit.python) == (pid, sys.executable)
    assert unit.environ == environ
    assert unit.limits["stack"] is None or unit.limits["stack"] > 0


def test_below_a_start_script_the_python_is_found(
    systemd: Callable[..., Host], service: Callable[..., int], tmp_path: Path
) -> None:
    script = tmp_path / "start.sh"
    script.write_text(f'#!/bin/sh\nexport ORT_SCRIPT=1\n{sys.executable} -c "{PROGRAM}"\n:\n')
    script.chmod(0o755)
    pid = service([str(script)], {"PATH": "/usr/bin:/bin"})
    unit = find_unit("app", systemd(str(script), pid))
    assert unit.python == sys.executable
    assert unit.pid != pid
    assert unit.environ["ORT_SCRIPT"] == "1"


def test_running_or_not_the_digest_is_one(systemd: Callable[..., Host], service: Callable[..., int]) -> None:
    def captured(host: Host) -> str:
        target = resolve_target(None, None, unit="app", host=host)
        return capture(target, host=host, sections=("variables", "python")).digest

    stopped = find_unit("app", systemd())
    before = captured(systemd())
    limited = (
        "import os, resource as r, runpy, sys; os.sched_setaffinity(0, [0]);"
        "r.setrlimit(r.RLIMIT_NOFILE, (4096, 4096)); "
        "r.setrlimit(r.RLIMIT_MEMLOCK, (2**16, 2**16));"
        f"os.execv(sys.executable, [sys.executable, '-c', {PROGRAM!r}])"
    )
    pid = service([sys.executable, "-c", limited], dict(stopped.environ))
    time.sleep(0.1)
    if len(os.sched_getaffinity(1)) == 1:
        pytest.skip(reason="with one CPU an affinity is none")
    assert captured(systemd(pid=pid)) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosuch", "there is no unit nosuch.service"), ("masked", "not loaded but masked"),
      ("a b", "no name of a service"), ("app.socket", "no name of a service")],
)  # fmt: skip
def test_what_is_no_service_is_told(systemd: Callable[..., Host], name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        find_unit(name, systemd())


def test_a_service_without_python_is_told(systemd: Callable[..., Host]) -> None:
    with pytest.raises(BadInput, match="starts no Python") as told:
        find_unit("app", systemd("/usr/bin/env"))
    assert "--python" in told.value.hint
    assert find_unit("app", systemd("/usr/bin/env"), sys.executable).python == sys.executable


FILES = {
    "usr/lib/systemd/system/app@.service": (
        "[Unit]\nDescription=x\n[Service]\n"
        "ExecStart=-/opt/app/venv/bin/gunicorn \\\n  # a comment\n  app:%i\n"
        "Environment=ORT_A=1\nEnvironment=ORT_INSTANCE=%i\nLimitNOFILE=1024:4096\n"
    ),
    "usr/lib/systemd/system/app@.service.d/10-env.conf": "[Service]\nEnvironment=ORT_A=2\nCPUAffinity=0 1\n",
    "etc/systemd/system/app@.service.d/10-env.conf":
        "[Service]\nEnvironment=\nEnvironment=ORT_B=3\nCPUQuota=50%\n",
    "etc/systemd/system/app@one.service.d/20.conf":
        "[Service]\nEnvironmentFile=/etc/app/*.env\nMemoryMax=1G\n",
    "etc/app/a.env": "ORT_C=4\n",
    "etc/app/b.env": "ORT_C=5\n",
    "opt/app/venv/bin/gunicorn": "#!/opt/app/venv/bin/python3.11\nimport sys\n",
    "opt/app/venv/bin/python3.11": "",
}  # fmt: skip


def test_unit_files_are_read_as_systemd_does(tree: Tree) -> None:
    unit = find_unit("app@one", tree(dict(FILES)))
    assert unit.python == "/opt/app/venv/bin/python3.11"
    assert {name: value for name, value in unit.environ.items() if name != "PATH"} == {
        "ORT_B": "3",
        "ORT_C": "5",
    }
    assert unit.limits == {"nofile": 1024}
    assert unit.affinity is None
    assert (unit.cpu_quota, unit.memory_mib) == (0.5, 1024)


def test_a_masked_and_an_absent_unit_file(tree: Tree) -> None:
    host = tree(dict(FILES))
    with pytest.raises(BadInput, match=r"there is no unit nosuch\.service below"):
        find_unit("nosuch", host)
    (host.root / "etc/systemd/system/gone.service").symlink_to("/dev/null")
    with pytest.raises(BadInput, match="masked"):
        read_unit("gone.service", host)


@pytest.mark.parametrize(
    ("command", "python"),
    [
        (["/opt/python3.12", "-m", "app"], "/opt/python3.12"),
        (["nice", "-n", "5", "/opt/bin/python3", "x.py"], "/opt/bin/python3"),
        (["/bin/sh", "-c", "exec /opt/bin/python -m app"], "/opt/bin/python"),
        (["/srv/serve"], "/opt/venv/bin/python"),
        (["/srv/long"], "/opt/a b/bin/python"),
        (["/srv/env"], "/usr/bin/python3"),
        (["/srv/start"], "/opt/venv/bin/python3.11"),
        (["/srv/several"], ""),
        (["/srv/binary"], ""),
        ([], ""),
    ],
)
def test_the_interpreter_behind_a_command(tree: Tree, command: list[str], python: str) -> None:
    host = tree({
        "srv/serve": "#!/opt/venv/bin/python -I\n",
        "srv/long": "#!/bin/sh\n'''exec' \"/opt/a b/bin/python\" \"$0\" \"$@\"\n' '''\n",
        "srv/env": "#!/usr/bin/env -S python3 -u\n",
        "srv/start": "#!/bin/bash\nset -e\ncd /srv\nexec /opt/venv/bin/python3.11 -m app\n",
        "srv/several": "#!/bin/sh\n/opt/a/bin/python x\n/opt/b/bin/python y\n",
        "srv/binary": b"\x7fELF\0\0/usr/bin/python3\0",
        "usr/bin/python3": "",
    })  # fmt: skip
    assert interpreter_of(command, {}, host) == python


@given(st.text(max_size=300))
def test_any_unit_file_is_read(text: str) -> None:
    for section, key, value in parse_unit(text):
        assert section
        assert key == key.strip()
        assert value == value.strip()


@given(st.binary(max_size=200))
def test_any_environ_and_limits_are_read(data: bytes) -> None:
    assert "" not in parse_environ(data)
    for value in parse_limits(data.decode("utf-8", "replace")).values():
        assert value is None or value >= 0


def test_environ_and_limits() -> None:
    assert parse_environ(b"A=1\0B=x=y\0A=2\0broken\0") == {"A": "1", "B": "x=y"}
    own = parse_limits(Path("/proc/self/limits").read_text())
    assert set(own) == {"as", "data", "memlock", "nofile", "stack"}


def test_unit_and_env_file_are_not_combined(systemd: Callable[..., Host], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be combined"):
        resolve_target(None, str(tmp_path / "x.env"), unit="app", host=systemd())


def test_the_processors_are_those_of_the_unit(systemd: Callable[..., Host]) -> None:
    host = systemd()
    target = resolve_target(None, None, unit="app", host=host)
    cpu = capture(target, host=host, sections=["cpu"]).sections["cpu"]
    assert (cpu.device["affinity"], cpu.shared["affinity"]) == ([0], 1)


def test_the_smoke_child_is_bound_as_the_unit_is(systemd: Callable[..., Host]) -> None:
    target = resolve_target(None, None, unit="app", host=systemd())
    assert target.affinity == [0]
    assert target.limits["nofile"] == 4096
    assert Target().affinity == []
