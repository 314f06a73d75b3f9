"""Lists of software: CycloneDX, requirements, pylock.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import tomllib
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.pylock import Pylock
from packaging.requirements import Requirement

from envcheck.contract.fingerprint import Fingerprint, Section, make_fingerprint
from envcheck.errors import BadInput, Undetermined
from envcheck.facts.wheels import Wheel
from envcheck.output.cyclonedx import cyclonedx_text
from envcheck.output.installed import Installed, installed
from envcheck.output.pylock import pylock_text, toml
from envcheck.output.requirements import requirements_text

PYTHON = {"version": "3.11.7", "implementation": "CPython", "machine": "x86_64"}
GIT = {
    "kind": "vcs",
    "vcs": "git",
    "url": "https://git.example/x.git",
    "commit": "c0ffee",
    "subdirectory": "py",
}
PACKAGES: dict[str, Any] = {
    "torch": {"version": "2.13.0", "local": "cu126", "build": "b1", "tags": ["cp311-cp311-linux_x86_64"]},
    "numpy": {"version": "2.4.6", "build": "b2", "vendored": {"packaging": "24.2"}},
    "from-git": {"version": "1.0", "source": GIT},
    "from-archive": {
        "version": "1.0",
        "source": {"kind": "archive", "url": "https://host.example/a.whl", "digest": "ab" * 32},
    },
    "from-here": {"version": "1.0", "build": "b3", "source": {"kind": "local"}},
    "app": {"version": "1.0", "source": {"kind": "editable"}},
    "lost": {"version": "1.0", "source": {"kind": "editable"}},
    "mkl": {
        "version": "2023.1",
        "kind": "conda",
        "conda": {"build": "h0", "channel": "main", "subdir": "linux-64"},
    },
    "bad": {"broken": "it has no metadata"},
    "odd": {"version": "not a version"},
}
PLACES = {"sources": {"app": "file:///srv/my%20app", "from-here": "file:///srv/here"}}
WHEELS = {
    "b1": Wheel(file="torch-2.13.0+cu126-cp311-cp311-linux_x86_64.whl", sha256="11" * 32, size=10),
    "b2": Wheel(file="numpy-2.4.6-cp311-cp311-linux_x86_64.whl", sha256="22" * 32, size=20),
}


def captured(packages: Mapping[str, Any], **more: Any) -> Fingerprint:
    sections = {
        "python": Section(status="ok", shared=PYTHON),
        "packages": Section(**{"status": "ok", "shared": dict(packages), "device": PLACES, **more}),
    }  # fmt: skip
    return make_fingerprint(sections, "2026-11-23T06:00:00Z", "0.1.0")


def found(packages: Mapping[str, Any] = PACKAGES) -> Installed:
    return installed(captured(packages), pytest.fail)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_requirements() -> None:
    text = requirements_text(found())
    assert lines(text) == [
        "-e file:///srv/my%20app",
        f"from-archive @ https://host.example/a.whl#sha256={'ab' * 32}",
        "from-git @ git+https://git.example/x.git@c0ffee#subdirectory=py",
        "from-here @ file:///srv/here",
        "numpy==2.4.6",
        "torch==2.13.0+cu126",
    ]
    comments = text.splitlines()
    assert "# mkl 2023.1: from conda main h0" in comments
    assert "# bad: it has no metadata" in comments
    assert "# odd not a version: its version is none that pip reads" in comments
    assert "# lost 1.0: from a place that is not known (editable)" in comments
    for line in lines(text):
        if not line.startswith("-e "):
            Requirement(line)


def valid(text: str) -> dict[str, Any]:
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, problem
    return dict(json.loads(text))


def test_cyclonedx_is_valid_and_equal_for_equal_environments() -> None:
    text = cyclonedx_text(found())
    document = valid(text)
    assert text == cyclonedx_text(found())
    assert document["metadata"]["component"]["version"] == "3.11.7"
    purls = {item["name"]: item["purl"] for item in document["components"]}
    assert purls["torch"] == "pkg:pypi/torch@2.13.0%2Bcu126"
    assert purls["mkl"] == "pkg:conda/mkl@2023.1?build=h0&channel=main&subdir=linux-64"
    assert "vcs_url=" in purls["from-git"]
    numpy = next(item for item in document["components"] if item["name"] == "numpy")
    assert [inner["name"] for inner in numpy["components"]] == ["packaging"]
    assert set(purls) == set(PACKAGES)


def test_pylock_with_the_wheels_that_were_installed() -> None:
    lockable = {
        name: PACKAGES[name] for name in ("torch", "numpy", "from-git", "from-archive", "app", "from-here")
    }
    text = pylock_text(found(lockable), WHEELS)
    lock = Pylock.from_dict(tomllib.loads(text))
    by_name = {package.name: package for package in lock.packages}
    assert by_name["torch"].wheels is not None
    assert by_name["torch"].wheels[0].hashes == {"sha256": "11" * 32}
    assert str(by_name["torch"].version) == "2.13.0+cu126"
    vcs, directory = by_name["from-git"].vcs, by_name["app"].directory
    assert vcs is not None
    assert (vcs.type, vcs.commit_id, vcs.subdirectory) == ("git", "c0ffee", "py")
    assert directory is not None
    assert (directory.path, directory.editable) == ("/srv/my app", True)
    assert str(lock.requires_python) == "==3.11.7"


def test_files_of_this_machine_are_no_folders() -> None:
    places = {
        "a": "file:///srv/my%20a-1.0.tar.gz",
        "b": "file:///srv/b-1.0-py3-none-any.whl",
        "c": "file:///srv/c",
    }
    packages = {
        "a": {"version": "1.0", "source": {"kind": "local", "digest": "ab" * 32}},
        # uv keeps no digest: the wheel is recognised by its build.
        "b": {"version": "1.0", "build": "b2", "source": {"kind": "local"}},
        "c": {"version": "1.0", "build": "b9", "source": {"kind": "local"}},
    }
    wheels = {"b2": Wheel(file="b-1.0-py3-none-any.whl", sha256="22" * 32, size=20)}
    made = installed(captured(packages, device={"sources": places}), pytest.fail)
    lock = Pylock.from_dict(tomllib.loads(pylock_text(made, wheels)))
    first, second, third = lock.packages
    assert first.archive is not None
    assert (first.archive.path, first.archive.hashes) == ("/srv/my a-1.0.tar.gz", {"sha256": "ab" * 32})
    assert second.wheels is not None
    assert second.wheels[0].hashes == {"sha256": "22" * 32}
    assert third.directory is not None
    assert third.directory.path == "/srv/c"
    with pytest.raises(BadInput, match=r"locked to: b 1\.0$"):
        pylock_text(made, {})


def test_what_cant_be_locked_is_named() -> None:
    with pytest.raises(BadInput, match=r"torch 2\.13\.0\+cu126") as told:
        pylock_text(found({"torch": PACKAGES["torch"]}), {})
    assert "--wheels" in told.value.hint
    wrong = {"b1": Wheel(file="other-1.0-py3-none-any.whl", sha256="11" * 32, size=1)}
    with pytest.raises(BadInput, match="can't be written as a lock file"):
        pylock_text(found({"torch": PACKAGES["torch"]}), wrong)


def test_an_incomplete_list_is_told_or_refused() -> None:
    notices: list[str] = []
    closed = captured(PACKAGES, status="unreadable", reason="1 of the folders may not be read")
    assert installed(closed, notices.append).software
    assert notices == ["the list is not complete: 1 of the folders may not be read"]
    with pytest.raises(Undetermined, match="no answer"):
        installed(captured({}, status="error", reason="no answer"), pytest.fail)
    bare = make_fingerprint({}, "2026-11-23T06:00:00Z", "0.1.0")
    with pytest.raises(BadInput, match="section packages"):
        installed(bare, pytest.fail)


TEXTS = st.text(max_size=20)
SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["vcs", "archive", "local"]),
        "url": TEXTS,
        "vcs": TEXTS,
        "commit": TEXTS,
    },
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "version": TEXTS, "local": TEXTS, "build": TEXTS, "source": SOURCES, "broken": TEXTS,
        "tags": st.lists(TEXTS), "conda": st.dictionaries(st.sampled_from(["build", "channel"]), TEXTS),
        "vendored": st.dictionaries(st.text(min_size=1, max_size=9), TEXTS, max_size=2),
    },
)  # fmt: skip


@settings(max_examples=40)
@given(st.dictionaries(st.text(min_size=1, max_size=12), ENTRIES, max_size=4))
def test_any_device_text_is_inert(packages: dict[str, Any]) -> None:
    made = found(packages)
    text = requirements_text(made)
    assert len(text.splitlines()) == 2 + len(packages)
    for line in text.splitlines():
        assert line.startswith("#") or line.isprintable()
    valid(cyclonedx_text(made))


VALUES = st.text() | st.integers() | st.booleans() | st.lists(st.text())
TABLES = st.recursive(
    st.dictionaries(st.text(), VALUES, max_size=3),
    lambda inner: st.dictionaries(
        st.text(), inner | VALUES | st.lists(inner, min_size=1, max_size=2), max_size=3
    ),
    max_leaves=8,
)


@given(TABLES)
def test_toml_is_read_back(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml(document)) == document
