"""What a unit sets beyond its command: other variables, another root, another user, a user's manager."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from envcheck.cli import envcheck, run_cli
from envcheck.errors import BadInput
from envcheck.facts.gather import capture
from envcheck.facts.host import UNSEEN, Host, resolve_target
from envcheck.facts.unit import find_unit

Tree = Callable[[dict[str, str | bytes]], Host]
Nobody = Callable[[], AbstractContextManager[None]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user or change its root")
START = "[Service]\nExecStart=/usr/bin/python3 x\n"
STAND_IN = """#!/bin/sh
case "$*" in
*--user*"--property=Environment") echo 'Environment=HOME=/home/pi ORT_MANAGER=1' ;;
*"--property=Environment") echo 'Environment=LANG=C.UTF-8' ;;
*--user*) cat {folder}/user ;;
*) cat {folder}/system ;;
esac
"""
GONE = "LoadState=not-found\nMainPID=0\n"


@pytest.fixture
def systemd(open_folder: Path) -> Callable[..., Host]:
    """A host whose systemd tells these settings of every unit, and whose users' managers those."""

    def make(system: str = GONE, user: str = GONE) -> Host:
        for name, told in (("system", system), ("user", user)):
            loaded = "" if told == GONE else "LoadState=loaded\n"
            (open_folder / name).write_text(loaded + told)
        program = open_folder / "systemctl"
        program.write_text(STAND_IN.format(folder=open_folder))
        program.chmod(0o755)
        return Host(environ={"PATH": f"{open_folder}:/usr/bin:/bin", "HOME": str(open_folder / "home")})

    return make


def starts(python: str = sys.executable, *words: str) -> str:
    return f"ExecStart={{ path={python} ; argv[]={' '.join([python, *words])} ; ignore_errors=no }}\n"


@pytest.mark.parametrize(
    ("setting", "files", "status", "said"),
    [
        ("EnvironmentFile=-/etc/no.env", {}, "", ""),
        ("EnvironmentFile=/etc/no.env", {}, "error", "EnvironmentFile /etc/no.env is not there"),
        # systemd passes over such a line; a quote without an end it reads otherwise than anybody means.
        ("EnvironmentFile=/etc/a.env", {"etc/a.env": "hello\nORT_A=1\n"}, "", ""),
        ("EnvironmentFile=/etc/a.env", {"etc/a.env": "ORT_A=1\nB='x\n"}, "error", "a.env, line 2: a quote"),
    ],
)
def test_files_of_variables(
    tree: Tree, setting: str, files: dict[str, str | bytes], status: str, said: str
) -> None:
    unit = f"{START}Environment=ORT_B=2\n{setting}\n"
    host = tree({**files, "etc/systemd/system/a.service": unit, "usr/bin/python3": ""})
    found = find_unit("a", host)
    assert found.environ["ORT_B"] == "2"
    assert (found.problem.status if found.problem else "") == status
    assert said in (found.problem.reason if found.problem else "")
    if files and not status:
        assert found.environ["ORT_A"] == "1"


def test_a_file_of_variables_that_may_not_be_read_is_a_status_of_one_section(
    systemd: Callable[..., Host], open_folder: Path, unprivileged: Nobody
) -> None:
    secret = open_folder / "app.env"
    secret.write_text("ORT_A=1\n")
    secret.chmod(0)
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    host = systemd(starts(python) + f"Environment=ORT_B=2\nEnvironmentFiles={secret} (ignore_errors=yes)\n")
    with unprivileged():
        found = capture(resolve_target(None, None, unit="app", host=host), host=host).sections
    assert found["variables"].status == "unreadable"
    assert found["variables"].reason == f"this user may not read its EnvironmentFile {secret}"
    assert found["variables"].shared["values"] == {"LANG": "C.UTF-8", "ORT_B": "2"}
    assert {found[name].status for name in ("python", "packages", "system", "cpu", "memory")} == {"ok"}


def test_capture_tells_it_and_exits_0(
    systemd: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = systemd(starts() + "EnvironmentFiles=/etc/no-such.env (ignore_errors=no)\n")
    monkeypatch.setenv("PATH", host.environ["PATH"])
    assert run_cli(envcheck, ["capture", "--unit", "app", "--section", "variables"]) == 0
    assert "its EnvironmentFile /etc/no-such.env is not there" in " ".join(capsys.readouterr().out.split())


def test_variables_of_the_manager_are_handed_on(tree: Tree, unprivileged: Nobody, open_folder: Path) -> None:
    unit = "PassEnvironment=ORT_A ORT_B\nPassEnvironment=ORT_NONE\nEnvironment=ORT_B=own\n"
    files: dict[str, str | bytes] = {"etc/systemd/system/a.service": START + unit, "usr/bin/python3": ""}
    host = tree({**files, "proc/1/environ": b"ORT_A=1\0ORT_B=2\0ORT_C=3\0"})
    found = find_unit("a", host)
    assert {name: value for name, value in found.environ.items() if name.startswith("ORT_")} == {
        "ORT_A": "1",
        "ORT_B": "own",
    }
    assert found.problem is None
    shutil.copytree(host.root, open_folder / "root")
    (open_folder / "root/proc/1/environ").chmod(0)
    with unprivileged():
        problem = find_unit("a", Host(root=open_folder / "root", environ={})).problem
    assert problem is not None
    assert (problem.status, "PassEnvironment=" in problem.reason) == ("unreadable", True)


def test_what_is_unset_is_not_told(systemd: Callable[..., Host]) -> None:
    setting = "Environment=ORT_A=1 ORT_B=2\nUnsetEnvironment=LANG ORT_A=1 ORT_B=1\n"
    found = find_unit("app", systemd(starts() + setting)).environ
    assert ("LANG" in found, "ORT_A" in found, found["ORT_B"]) == (False, False, "2")


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """A root directory with an interpreter and a package, as RootDirectory= names one."""
    root = tmp_path / "inner"
    info = root / "opt/venv/lib/python3.11/site-packages/alpha-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: alpha\nVersion: 1.0\n")
    (root / "opt/venv/bin").mkdir()
    (root / "opt/venv/bin/python").write_text("")
    (root / "opt/venv/bin/serve").write_text("#!/opt/venv/bin/python\n")
    (root / "opt/venv/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text("ID=innerix\n")
    return root


def test_files_below_another_root_are_read_there(systemd: Callable[..., Host], inner: Path) -> None:
    host = systemd(starts("/opt/venv/bin/serve") + f"RootDirectory={inner}\nEnvironment=ORT_A=1\n")
    found = capture(resolve_target(None, None, unit="app", host=host, on_disk=True), host=host).sections
    assert (found["python"].status, found["python"].shared["version"]) == ("skipped", "3.11.2")
    assert "root directory of its own" in found["python"].reason
    assert found["packages"].shared["alpha"]["version"] == "1.0"
    assert found["system"].shared["os"] == {"id": "innerix"}
    assert found["system"].shared["kernel"] == os.uname().release
    assert found["variables"].shared["unit"]["root"] == "directory"
    assert {found[name].status for name in ("system", "cpu", "memory", "variables")} == {"ok"}
    # What would have to be run is refused, with what can be done.
    with pytest.raises(BadInput, match="can't be run from here") as told:
        resolve_target(None, None, unit="app", host=host)
    assert "capture --unit" in told.value.hint


def test_a_root_directory_within_an_image(tree: Tree, inner: Path) -> None:
    host = tree({
        "etc/systemd/system/a.service":
            "[Service]\nExecStart=/opt/venv/bin/python -m app\nRootDirectory=/srv/inner\n",
    })  # fmt: skip
    (host.root / "srv").mkdir()
    inner.rename(host.root / "srv/inner")
    found = capture(resolve_target(None, None, unit="a", host=host), host=host).sections
    assert found["packages"].shared["alpha"]["version"] == "1.0"
    assert found["system"].shared["os"] == {"id": "innerix"}


def test_what_lies_in_a_disk_image_is_unreadable_and_the_rest_is_told(systemd: Callable[..., Host]) -> None:
    host = systemd(starts("/opt/venv/bin/serve") + "RootImage=/srv/app.raw\nEnvironment=ORT_A=1\n")
    assert find_unit("app", host).root == UNSEEN
    found = capture(resolve_target(None, None, unit="app", host=host, on_disk=True), host=host).sections
    for name in ("python", "packages", "onnxruntime", "system", "cuda"):
        assert (found[name].status, "RootImage=" in found[name].reason or "/dev" in found[name].reason) == (
            "unreadable", True,
        ), name  # fmt: skip
    assert found["system"].shared["kernel"] == os.uname().release
    assert found["variables"].shared["values"] == {"LANG": "C.UTF-8", "ORT_A": "1"}
    assert {found[name].status for name in ("cpu", "memory", "variables")} == {"ok"}


@as_root
def test_a_running_service_is_looked_at_where_its_root_is(systemd: Callable[..., Host], inner: Path) -> None:
    """Also one whose unit says nothing of it: a chroot of its own, an image that systemd has mounted."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    # A program of its own, since the interpreter in there is an empty file.
    script = f"mount --bind /usr {inner}/usr; ln -sfn usr/lib {inner}/lib; ln -sfn usr/lib64 {inner}/lib64;"
    script += f"exec chroot {inner} /usr/bin/env -i sh -c 'exec -a /opt/venv/bin/python sleep 60'"
    (inner / "usr").mkdir()
    if not Path("/usr/bin/bash").exists():
        pytest.skip("needs bash")
    script = script.replace(" sh -c", " bash -c")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"/opt/venv"):
                assert process.poll() is None
            host = systemd(starts("/usr/bin/sleep") + f"MainPID={process.pid}\nRootImage=/srv/app.raw\n")
            unit = find_unit("app", host)
            assert (unit.python, unit.root) == ("/opt/venv/bin/python", f"/proc/{process.pid}/root")
            target = resolve_target(None, None, unit="app", host=host, on_disk=True)
            found = capture(target, host=host).sections
        finally:
            process.kill()
    assert found["packages"].shared["alpha"]["version"] == "1.0"
    assert found["system"].shared["os"] == {"id": "innerix"}


@as_root
def test_root_asks_with_the_rights_of_the_services_user(
    systemd: Callable[..., Host], open_folder: Path
) -> None:
    asked, closed = open_folder / "asked", open_folder / "closed"
    asked.mkdir(mode=0o777)
    asked.chmod(0o777)
    closed.mkdir(mode=0o700)
    python = open_folder / "python3"
    real = "/usr/bin/python3"
    if not Path(real).exists():
        pytest.skip("needs a Python that every user may run")
    python.write_text(f'#!/bin/sh\nid -u > {asked}/uid\nid -G > {asked}/groups\nexec {real} "$@"\n')
    python.chmod(0o755)
    setting = starts(str(python)) + f"User=nobody\nEnvironment=PYTHONPATH={closed}\n"
    host = systemd(setting)
    target = resolve_target(None, None, unit="app", host=host)
    assert target.environ is not None
    assert (target.environ["USER"], target.environ["LOGNAME"]) == ("nobody", "nobody")
    found = capture(target, host=host).sections
    assert (asked / "uid").read_text() == "65534\n"
    assert "0" not in (asked / "groups").read_text().split()
    assert found["packages"].status == "unreadable"
    assert str(closed) in found["packages"].device["unreadable"]
    assert found["variables"].shared["unit"]["user"] == "nobody"
    (asked / "uid").unlink()
    capture(resolve_target(None, None, unit="app", host=systemd(setting + "DynamicUser=yes\n")), host=host)
    assert (asked / "uid").read_text() == "65534\n"


@as_root
def test_an_interpreter_that_the_services_user_may_not_run(
    systemd: Callable[..., Host], open_folder: Path
) -> None:
    python = open_folder / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    host = systemd(starts(str(python)) + "User=nobody\n")
    with pytest.raises(BadInput, match="with the rights of the service's user: Permission denied"):
        resolve_target(None, None, unit="app", host=host)


def test_an_interpreter_in_a_folder_that_may_not_be_entered(open_folder: Path, unprivileged: Nobody) -> None:
    (open_folder / "home").mkdir(mode=0o700)
    (open_folder / "home/python").write_text("")
    with unprivileged(), pytest.raises(BadInput, match="may not enter its folder"):
        resolve_target(str(open_folder / "home/python"), None)


def test_the_home_of_the_services_user_is_its_own(tree: Tree) -> None:
    host = tree({
        "etc/systemd/system/a.service": START + "User=app\n",
        "etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:998:997:App:/var/lib/app:/usr/sbin/nologin\n",
        "etc/group": "root:x:0:\nvideo:x:44:app,other\napp:x:997:\n",
        "usr/bin/python3": "",
    })  # fmt: skip
    found = find_unit("a", host)
    assert found.environ["HOME"] == "/var/lib/app"
    assert found.rights is not None
    assert (found.rights.uid, found.rights.gid, found.rights.groups) == (998, 997, (44, 997))


def test_a_unit_of_a_users_manager(systemd: Callable[..., Host]) -> None:
    found = find_unit("app", systemd(user=starts() + "Environment=ORT_A=1\n"))
    assert found.of_user
    assert found.environ["HOME"] == "/home/pi"
    assert (found.environ["ORT_MANAGER"], found.environ["ORT_A"]) == ("1", "1")
    # The system's goes first.
    assert not find_unit("app", systemd(starts(), user=starts())).of_user


def test_a_unit_in_a_home_where_no_manager_of_it_can_be_asked(
    systemd: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = systemd()
    folder = Path(host.environ["HOME"]) / ".config/systemd/user"
    folder.mkdir(parents=True)
    (folder / "app@.service").write_text(
        f"[Service]\nExecStart={sys.executable} -m app\nEnvironment=ORT_I=%i ORT_H=%h\n"
    )
    (folder / "app@.service.d").mkdir()
    (folder / "app@.service.d/more.conf").write_text("[Service]\nEnvironment=ORT_D=1\n")
    for name, value in host.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ENVCHECK_CONFIG", raising=False)
    assert run_cli(envcheck, ["capture", "--unit", "app@one", "--section", "variables", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["sections"]["variables"]["shared"]
    assert told["values"] == {"ORT_I": "one", "ORT_H": host.environ["HOME"], "ORT_D": "1"}
    assert told["unit"] == {"name": "app@one.service", "manager": "user"}


def test_a_unit_in_a_home_of_an_image(tree: Tree) -> None:
    host = tree({
        "home/pi/.config/systemd/user/app.service": START,
        "etc/passwd": "root:x:0:0::/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/bash\n",
        "usr/bin/python3": "",
    })  # fmt: skip
    found = find_unit("app", host)
    assert (found.of_user, found.user, found.environ["HOME"]) == (True, "pi", "/home/pi")
    with pytest.raises(BadInput, match=r"no unit other.service below .*, of the system or of a user"):
        find_unit("other", host)


@pytest.fixture
def working(open_folder: Path) -> Path:
    """A working directory with a package in lib, one of its own, and what would break who imports from it."""
    for folder, name in (("work/lib", "inner"), ("work", "outer")):
        info = open_folder / folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (open_folder / "work/bisect.py").write_text("raise SystemExit('not the one that was meant')\n")
    return open_folder / "work"


@pytest.mark.parametrize(
    ("value", "names"), [("lib", {"inner"}), ("./lib/../lib:/no/such", {"inner"}), ("/no/such", set())]
)
def test_relative_folders_begin_at_the_working_directory(
    systemd: Callable[..., Host], working: Path, value: str, names: set[str]
) -> None:
    host = systemd(starts() + f"Environment=PYTHONPATH={value}\nWorkingDirectory={working}\n")
    target = resolve_target(None, None, unit="app", host=host)
    found = capture(target, host=host).sections
    assert found["packages"].shared.keys() & {"inner", "outer"} == names
    assert (str(working / "lib") in found["python"].device["path"]) == bool(names)
    # As it was set: a fact is no interpretation.
    assert found["variables"].shared["values"]["PYTHONPATH"] == value
    assert found["variables"].status == "ok"


def test_relative_folders_of_a_unit_in_an_image(tree: Tree) -> None:
    unit = f"{START}WorkingDirectory=/srv/app\nEnvironment=PYTHONPATH=lib LD_LIBRARY_PATH=cuda\n"
    host = tree({
        "etc/systemd/system/a.service": unit, "usr/bin/python3": "", "usr/lib/python3.11/os.py": "",
        "srv/app/lib/alpha-1.0.dist-info/METADATA": "Name: alpha\nVersion: 1.0\n",
        "srv/app/cuda/libcudart.so.12": "",
    })  # fmt: skip
    found = capture(resolve_target(None, None, unit="a", host=host), host=host).sections
    assert found["packages"].shared.keys() == {"alpha"}
    assert found["cuda"].device["places"] == {"libcudart.so.12": "/srv/app/cuda/libcudart.so.12"}
    assert found["variables"].status == "ok"


@pytest.mark.parametrize(
    ("value", "folder", "status"),
    [
        ("lib", "{work}/none", "error"),
        ("lib", "-{work}/none", "ok"),
        ("/lib", "{work}/none", "ok"),
        ("lib", "{work}/closed", "unreadable"),
        ("lib", "{work}/closed/inner", "unreadable"),
    ],
)
def test_a_working_directory_that_can_not_be_entered(
    systemd: Callable[..., Host],
    open_folder: Path,
    unprivileged: Nobody,
    value: str,
    folder: str,
    status: str,
) -> None:
    (open_folder / "closed").mkdir(mode=0o700)
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    folder = folder.format(work=open_folder)
    host = systemd(starts(python) + f"Environment=PYTHONPATH={value}\nWorkingDirectory={folder}\n")
    with unprivileged():
        found = capture(resolve_target(None, None, unit="app", host=host), host=host).sections
    assert found["variables"].status == status, found["variables"].reason
    assert ("WorkingDirectory" in found["variables"].reason) == (status != "ok")


def test_services_of_a_users_manager_begin_at_home(tree: Tree) -> None:
    unit = "[Service]\nExecStart=venv/bin/python -m app\n"
    host = tree({
        "home/pi/.config/systemd/user/a.service": unit,
        "etc/passwd": "pi:x:1000:1000::/home/pi:/bin/sh\n",
    })  # fmt: skip
    found = find_unit("a", host)
    assert (found.python, found.folder) == ("/home/pi/venv/bin/python", "/home/pi")
