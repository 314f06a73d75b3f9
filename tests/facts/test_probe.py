"""The probe in every Python of this machine, and what is made of its answer."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envcheck.contract.fingerprint import Fingerprint, fingerprint_objects
from envcheck.facts import interpreter, probe
from envcheck.facts.asking import probe_source
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.interpreter import parse_answer
from envcheck.facts.packages import canonical_name

ASKED = ("python", "packages", "onnxruntime")


def asked(python: str | Path, environ: dict[str, str] | None = None) -> Fingerprint:
    return capture(Target(str(python), environ), sections=ASKED)


def versions(fingerprint: Fingerprint) -> dict[str, str]:
    return {
        name: "+".join(filter(None, [entry.get("version", ""), entry.get("local", "")]))
        for name, entry in fingerprint.sections["packages"].shared.items()
        if not entry.get("broken")
    }


def test_marker_and_syntax() -> None:
    assert interpreter.MARKER == probe.MARKER
    ast.parse(probe_source(), feature_version=(3, 6))


def test_every_python_found_here_tells_itself(any_python: Path) -> None:
    found = asked(any_python)
    code = (
        "import json, sys; "
        "print(json.dumps(['%d.%d.%d' % sys.version_info[:3], sys.version, sys.base_prefix]))"
    )
    own = subprocess.run([any_python, "-I", "-c", code], capture_output=True, text=True, check=True)
    version, build, base_prefix = json.loads(own.stdout)
    python = found.sections["python"]
    assert (python.status, python.reason) == ("ok", "")
    assert (python.shared["version"], python.shared["build"]) == (version, " ".join(build.split()))
    assert python.device["base_prefix"] == base_prefix
    assert python.shared["implementation"] == "CPython"
    assert python.shared["abi"]
    assert found.sections["packages"].status == "ok"


def test_packages_of_every_python_agree_with_its_own_metadata(any_python: Path) -> None:
    code = """
import json
try:
    from importlib.metadata import distributions
    found = {d.metadata["Name"]: d.version for d in distributions()}
except ImportError:
    import pkg_resources
    found = {d.project_name: d.version for d in pkg_resources.working_set}
print(json.dumps(found))
"""
    done = subprocess.run([any_python, "-W", "ignore", "-I", "-c", code], capture_output=True, check=True)
    expected = {canonical_name(name): version for name, version in json.loads(done.stdout).items()}
    assert versions(asked(any_python)) == expected


def test_packages_here_agree_with_pip_inspect() -> None:
    pip = [sys.executable, "-I", "-m", "pip", "inspect"]
    told = json.loads(subprocess.run(pip, capture_output=True, check=True).stdout)
    expected = {
        canonical_name(item["metadata"]["name"]): item["metadata"]["version"] for item in told["installed"]
    }
    assert len(expected) > 20
    assert versions(asked(sys.executable)) == expected


def test_two_environments_of_the_same_wheels_have_equal_digests(
    tmp_path: Path, wheel: Callable[..., Path], venv: Callable[..., str]
) -> None:
    wheels = [wheel(tmp_path / "w", "alpha", "1.0"), wheel(tmp_path / "w", "beta", "2.0+local.1")]
    one = asked(venv(tmp_path / "one", *wheels))
    two = asked(venv(tmp_path / "elsewhere" / "two", *reversed(wheels)))
    assert set(versions(one)) == {"alpha", "beta"}
    assert one.digest == two.digest
    places = [found.sections["python"].device for found in (one, two)]
    assert [place["prefix"] for place in places] == [str(tmp_path / "one"), str(tmp_path / "elsewhere/two")]
    assert [place["base_prefix"] for place in places] == [sys.base_prefix] * 2
    # The console scripts differ, since they name their interpreter; the build identity does not.
    assert one.sections["packages"].shared["alpha"]["build"]


def test_another_build_of_the_same_version_is_another_identity(
    tmp_path: Path, wheel: Callable[..., Path], venv: Callable[..., str]
) -> None:
    first = asked(venv(tmp_path / "a", wheel(tmp_path / "w1", "alpha", "1.0")))
    other = asked(venv(tmp_path / "b", wheel(tmp_path / "w2", "alpha", "1.0", build="another")))
    builds = [found.sections["packages"].shared["alpha"]["build"] for found in (first, other)]
    assert builds[0] != builds[1]


def test_no_path_of_the_device_is_a_shared_fact(
    tmp_path: Path, wheel: Callable[..., Path], venv: Callable[..., str]
) -> None:
    found = asked(venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0")))
    objects = fingerprint_objects(found.sections)[1]
    assert not [data for data in objects.values() if str(tmp_path).encode() in data]


def test_broken_shadowed_and_hostile_metadata_is_told(tmp_path: Path, venv: Callable[..., str]) -> None:
    python = venv(tmp_path / "venv")
    site = next((tmp_path / "venv/lib").glob("python3*")) / "site-packages"
    files: dict[str, bytes] = {
        "alpha-1.0.dist-info/METADATA": b"Name: alpha\r\nVersion: 1.0\r\n\r\nName: no\r\n",
        "alpha-1.0.dist-info/RECORD": b"alpha.py,sha256=abc,1\nalpha-1.0.dist-info/RECORD,,\n",
        "empty-2.0.dist-info/INSTALLER": b"pip\n",
        "bytes-1.0.dist-info/METADATA": b"Name: \xff\xfe\xed\xa0\x80\nVersion: \x00\x01\n",
        "late-1.0.dist-info/METADATA": b"X: " + b"y" * 9000 + b"\nName: late\nVersion: 3.0\n",
        "old-1.0.egg-info/PKG-INFO": b"Name: old\nVersion: 1.0\n",
        "flat-1.5-py3.11.egg-info": b"Name: flat\nVersion: 1.5\n",
        "~lpha-0.9.dist-info/METADATA": b"Name: ~lpha\nVersion: 0.9\n",
        "secret-1.0.dist-info/METADATA": b"Name: secret\nVersion: 1.0\n",
        "secret-1.0.dist-info/direct_url.json": b'{"url": "https://me:s3cr3t@host/s.whl"}',
        "extra.pth": str(tmp_path / "extra").encode() + b"\n",
        "hook.pth": b"import os\n",
    }
    for name, content in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    hidden = tmp_path / "extra/alpha-9.0.dist-info/METADATA"
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(b"Name: alpha\nVersion: 9.0\n")

    found = asked(python)
    entries = found.sections["packages"].shared
    assert found.sections["packages"].status == "ok"
    assert entries["alpha"]["version"] == "1.0"
    assert entries["alpha"]["shadowed"] == [{"version": "9.0"}]
    assert entries["empty"]["broken"] == "it has no metadata"
    assert entries["late"]["version"] == "3.0"
    assert entries["old"]["kind"] == entries["flat"]["kind"] == "egg-info"
    assert entries["~lpha"]["broken"]
    assert entries["secret"]["source"]["url"] == "https://host/s.whl"
    assert b"s3cr3t" not in b"".join(fingerprint_objects(found.sections)[1].values())
    assert found.sections["python"].shared["hooks"] == ["hook.pth"]


def test_a_version_is_whole_wherever_it_stands(tmp_path: Path, venv: Callable[..., str]) -> None:
    """The metadata is read in blocks; where one ends is no end of a line."""
    python = venv(tmp_path / "venv")
    site = next((tmp_path / "venv/lib").glob("python3*")) / "site-packages"
    for start in range(2030, 2052):
        head = f"Name: p{start}\nSummary: "
        version = "Version: 12.34.56"
        (site / f"p{start}-12.34.56.dist-info").mkdir()
        text = f"{head}{'x' * (start - len(head) - 1)}\n{version}\n"
        assert text.index(version) == start
        (site / f"p{start}-12.34.56.dist-info/METADATA").write_text(text)
    told = asked(python).sections["packages"].shared
    assert {entry["version"] for entry in told.values()} == {"12.34.56"}


def test_what_is_no_folder_on_the_path_is_passed_over(tmp_path: Path, venv: Callable[..., str]) -> None:
    """As `import` does it: a hook may have put anything there."""
    python = venv(tmp_path / "venv")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import pathlib, sys\nsys.path += [pathlib.Path('/tmp'), 5, None, b'/tmp']\n"
    )
    found = asked(python, {"PYTHONPATH": str(tmp_path / "site")})
    assert found.sections["packages"].status == "ok"
    assert str(tmp_path / "site") in found.sections["python"].device["path"]


def test_what_it_measures_is_read_and_not_imported(tmp_path: Path, venv: Callable[..., str]) -> None:
    """Importing torch takes seconds, and importing a damaged onnxruntime may end the interpreter."""
    python = venv(tmp_path / "venv")
    site = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    tells = f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n"
    for name, text in {
        "onnxruntime/__init__.py": "__version__ = '1.21.0'\n",
        "onnxruntime/capi/__init__.py": "",
        "onnxruntime/capi/build_and_package_info.py": "package_name = 'onnxruntime'\n",
        "onnxruntime-1.21.0.egg-info": "Name: onnxruntime\nVersion: 1.21.0\n",
        "torch/__init__.py": "",
        "torch/version.py": "__version__ = '2.8.0+cu126'\ncuda = '12.6'\n",
    }.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}{tells}raise SystemExit(9)\n" if name.endswith(".py") else text)
    found = capture(Target(python), sections=(*ASKED, "cuda"))
    assert found.sections["onnxruntime"].shared["version"] == "1.21.0"
    assert found.sections["cuda"].shared["torch"] == {"version": "2.8.0+cu126", "cuda": "12.6"}
    assert {found.sections[name].status for name in ASKED} == {"ok"}
    assert not (tmp_path / "imported").exists()
    # They would tell, had they been imported.
    subprocess.run([python, "-c", "import torch"], capture_output=True)
    assert (tmp_path / "imported").read_text() == "torch"


def test_a_configured_environment_is_not_isolated(tmp_path: Path) -> None:
    extra = tmp_path / "extra/alpha-1.0.dist-info/METADATA"
    extra.parent.mkdir(parents=True)
    extra.write_text("Name: alpha\nVersion: 1.0\n")
    environ = {"PYTHONPATH": str(tmp_path / "extra"), "PYTHONOPTIMIZE": "1"}
    served = asked(sys.executable, environ)
    assert served.sections["packages"].shared["alpha"]["version"] == "1.0"
    assert served.sections["python"].shared["flags"] == {"optimize": 1}
    assert not served.sections["python"].shared["isolated"]
    alone = capture(Target(sys.executable), host=Host(environ=environ), sections=ASKED)
    assert "alpha" not in alone.sections["packages"].shared
    assert alone.sections["python"].shared["isolated"]


def test_a_wrapper_and_a_talkative_start_are_no_obstacle(tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho "welcome to {{the}} machine"\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    assert versions(asked(wrapper)) == versions(asked(sys.executable))


def test_the_probe_leaves_nothing_behind(tmp_path: Path, venv: Callable[..., str]) -> None:
    python = venv(tmp_path / "venv")
    before = sorted(tmp_path.rglob("*"))
    asked(python)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"hello",
        b"\nenvcheck-probe-1 ",
        b"\nenvcheck-probe-1 {}",
        b'\nenvcheck-probe-1 {"version": 3}\n',
        b"\xff" * 9,
    ],
)
def test_what_is_no_answer_is_none(output: bytes) -> None:
    assert parse_answer(output) is None
