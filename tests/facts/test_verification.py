"""Installed files held to their records."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envcheck.contract.fingerprint import Fingerprint
from envcheck.facts import probe_verify, verification
from envcheck.facts.asking import more_source, verify_source
from envcheck.facts.gather import capture
from envcheck.facts.host import Host, Target
from envcheck.facts.probe_verify import rows
from envcheck.facts.verification import parse_verified

Wheel = Callable[..., Path]
Venv = Callable[..., str]


def verified(python: str, **more: Any) -> Fingerprint:
    return capture(Target(python), sections=("packages",), verify=True, **more)


def told(found: Fingerprint) -> dict[str, Any]:
    return dict(found.sections["packages"].device["verified"])


def faults(found: Fingerprint) -> dict[str, dict[str, list[str]]]:
    return {
        fault["file"]: {kind: named["names"] for kind, named in fault.items() if kind != "file"}
        for fault in told(found).get("found", [])
    }


def test_the_markers_agree() -> None:
    assert probe_verify.MARKER == verification.MARKER


def test_what_was_changed_by_hand_is_named(tmp_path: Path, wheel: Wheel, venv: Venv) -> None:
    wheels = [wheel(tmp_path / "w", name, "1.0") for name in ("alpha", "beta", "gamma")]
    python = venv(tmp_path / "venv", *wheels)
    site = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    whole = verified(python)
    assert (told(whole)["complete"], faults(whole)) == (True, {})
    assert told(whole)["distributions"] == 3
    (site / "alpha.py").write_text("x = 2\n")  # as long as before: only its hash tells
    (site / "beta.py").unlink()
    (site / "gamma-1.0.dist-info/left.txt").write_text("")
    (site / "stray.py").write_text("")
    (site / "__pycache__").mkdir(exist_ok=True)
    (site / "__pycache__/alpha.cpython-311.pyc").write_bytes(b"")
    (tmp_path / "venv/bin/gamma").write_text("#!/bin/sh\n")
    found = verified(python)
    assert faults(found) == {
        "alpha-1.0.dist-info": {"modified": ["alpha.py"]},
        "beta-1.0.dist-info": {"missing": ["beta.py"]},
        "gamma-1.0.dist-info": {
            "extra": ["gamma-1.0.dist-info/left.txt"],
            "modified": ["../../../bin/gamma"],
        },
    }
    assert told(found)["unowned"] == {"count": 1, "names": ["stray.py"]}
    # How closely one looks changes no digest.
    assert capture(Target(python), sections=("packages",)).digest == found.digest == whole.digest


@pytest.mark.slow
def test_this_environment_is_as_it_was_installed() -> None:
    """The tests' own: many wheels, of which nobody changed anything."""
    quick = capture(Target(sys.executable), sections=("packages",), verify=True, deadline_s=60)
    assert told(quick)["distributions"] > 20
    modified = {name: kinds["modified"] for name, kinds in faults(quick).items() if "modified" in kinds}
    assert modified == {}


def test_time_that_is_over_is_told(tmp_path: Path, wheel: Wheel, venv: Venv) -> None:
    python = venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0"))
    order = json.dumps(
        {"path": [str(next((tmp_path / "venv").rglob("site-packages")))], "root": "/", "seconds": 0}
    )
    done = subprocess.run([python, "-I", "-c", verify_source(), order, more_source()], capture_output=True)
    found = parse_verified(done.stdout)
    assert found is not None
    assert not found.complete


def test_every_python_verifies(any_python: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "pkg").mkdir(parents=True)
    (site / "pkg/a.py").write_text("")
    (site / "pkg/b.py").write_text("changed")
    (site / "pkg/odd, name.py").write_text("")
    (site / "a-1.dist-info").mkdir()
    empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    rows = [
        f"pkg/a.py,{empty},0",
        f"pkg/b.py,{empty},7",
        f'"pkg/odd, name.py",{empty},0',
        "a-1.dist-info/RECORD,,",
    ]
    (site / "a-1.dist-info/RECORD").write_text("\r\n".join(rows) + "\r\n")
    order = json.dumps({"path": [str(site)], "root": "/", "seconds": 10})
    done = subprocess.run(
        [str(any_python), "-I", "-c", verify_source(), order, more_source()], capture_output=True, check=True
    )
    found = parse_verified(done.stdout)
    assert found is not None
    assert (found.files, found.complete) == (4, True)
    assert [fault.modified and fault.modified.names for fault in found.found] == [["pkg/b.py"]]


HOSTILE = [
    "/dev/zero,sha256=abc,",
    "../../../../../../etc/passwd,sha256=abc,1",
    "fifo,sha256=abc,",
    "folder,sha256=abc,",
    "x,md5000=abc,",
    "x,sha256,",
    'unclosed "quote,sha256=abc,1',
    "nul\0byte,sha256=abc,1",
    ",,",
    "link,sha256=abc,",
]


BAD_ROWS = [
    *(f"x.py,{name}=abc,0" for name in ("shake_128", "shake_256", "sha3_256", "md5000", "")),
    "nul\0byte,sha256=abc,1",
    "x" * 300_000 + ",sha256=abc,1",
    "a\rb,,",
    "\u2028,,",
    '"' + "x,\n" * 1000,
]


def test_bad_rows_hide_no_other(any_python: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "a-1.dist-info").mkdir(parents=True)
    (site / "x.py").write_text("")
    (site / "good.py").write_text("changed")
    text = "\n".join([*BAD_ROWS, "good.py,sha256=abc,7\n"])
    (site / "a-1.dist-info/RECORD").write_bytes(text.encode())
    order = json.dumps({"path": [str(site)], "root": "/", "seconds": 10})
    command = [str(any_python), "-I", "-c", verify_source(), order, more_source()]
    found = parse_verified(subprocess.run(command, capture_output=True).stdout)
    assert found is not None
    assert found.complete
    assert found.found[0].modified is not None
    assert "good.py" in found.found[0].modified.names


NAMES = st.text(st.sampled_from('a",\n\u2028\x0c\x85 \udcff'), min_size=1, max_size=8)


@given(st.lists(NAMES, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_read_as_installers_write_them(names: list[str], end: str) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=end).writerows([name, "sha256=abc", "3"] for name in names)
    assert list(rows(written.getvalue())) == [(name, "sha256=abc", "3") for name in names]


@given(st.text(st.sampled_from('a",\n\r\0\u2028 \udcff'), max_size=60))
def test_any_text_has_rows(text: str) -> None:
    assert all(len(row) == 3 for row in rows(text))


def test_a_folder_of_two_names_is_verified_once(tmp_path: Path, wheel: Wheel, venv: Venv) -> None:
    python = venv(tmp_path / "venv", wheel(tmp_path / "w", "alpha", "1.0"))
    site = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    (tmp_path / "second").symlink_to(site)
    (site / "second.pth").write_text(f"{tmp_path / 'second'}\n")
    (site / "alpha.py").write_text("x = 2\n")
    found = verified(python)
    assert told(found)["distributions"] == 1
    assert told(found)["found"][0]["modified"]["count"] == 1


def test_hostile_records_end_in_time(tmp_path: Path) -> None:
    import os

    site = tmp_path / "site"
    (site / "a-1.dist-info").mkdir(parents=True)
    (site / "a-1.dist-info/RECORD").write_text("\n".join(HOSTILE))
    (site / "folder").mkdir()
    os.mkfifo(site / "fifo")
    (site / "link").symlink_to("link")
    order = json.dumps({"path": [str(site), str(tmp_path / "no")], "root": "/", "seconds": 5})
    command = [sys.executable, "-I", "-c", verify_source(), order, more_source()]
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    found = parse_verified(done.stdout)
    assert found is not None
    assert found.complete
    assert found.found[0].modified is not None
    assert {"/dev/zero", "fifo"} <= set(found.found[0].modified.names)


def test_a_tree_is_verified_by_the_agent(tmp_path: Path, wheel: Wheel, venv: Venv) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    venv(root / "opt/venv", wheel(tmp_path / "w", "alpha", "1.0"))
    next(root.rglob("alpha.py")).write_text("changed\n")
    found = capture(
        Target("/opt/venv/bin/python", unasked="a test"),
        host=Host(root=root, environ={}),
        sections=("packages",),
        verify=True,
    )
    assert faults(found) == {"alpha-1.0.dist-info": {"modified": ["alpha.py"]}}


def test_an_interpreter_that_tells_nothing(tmp_path: Path) -> None:
    liar = tmp_path / "python"
    liar.write_text(f'#!/bin/sh\ncase "$4" in *Verification*) exit 3 ;; esac\nexec {sys.executable} "$@"\n')
    liar.chmod(0o755)
    assert told(verified(str(liar)))["problem"] == "it gave no answer"


@given(st.binary(max_size=100))
@example(b'{"":""}')
def test_what_is_no_answer_is_none(data: bytes) -> None:
    """Fields that are not known are passed over: a newer answer may have more."""
    assert parse_verified(data) is None
    found = parse_verified(b"\n" + verification.MARKER + data)
    assert found is None or isinstance(json.loads(data), dict)


@pytest.mark.parametrize("text", [b"{}", b'{"complete": true, "unowned": {"count": 0}}'])
def test_an_answer_is_read(text: bytes) -> None:
    found = parse_verified(b"noise\n" + verification.MARKER + text + b"\nmore")
    assert found is not None
    assert found.unowned is None
