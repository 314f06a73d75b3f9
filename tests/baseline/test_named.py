"""Packages that files name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.baseline.named import (
    NamedPackage,
    marker_environment,
    name_package,
    read_pylock,
    read_requirements,
)
from envcheck.contract.fingerprint import Fingerprint, Section, make_fingerprint
from envcheck.errors import BadInput, Undetermined


def trained(version: str = "3.8.18", machine: str = "aarch64") -> dict[str, str]:
    shared = {"version": version, "implementation": "CPython", "machine": machine}
    sections = {
        "python": Section(status="ok", shared=shared),
        "system": Section(status="ok", shared={"kernel": "6.1.0"}),
    }
    return marker_environment(make_fingerprint(sections, "2026-01-01T00:00:00Z", "0"))


def names(path: Path, **environment: str) -> list[str]:
    return [each.name for each in read_requirements(path, {**trained(), **environment})]


FILE = """\
# what the application serves with
numpy==1.24.4  # pinned
Scikit_Learn[extra1,extra2] >= 1.0 \\
    --hash=sha256:0123 \\
    --hash=sha256:4567
-c constraints.txt
--index-url https://user:secret@example.org/simple
-r more/base.txt
torch ; python_version < "3.9" and platform_machine == "aarch64"
tomli ; python_version >= "3.11"
pywin32 ; sys_platform == "win32"
onnxruntime @ https://example.org/files/onnxruntime-1.19.2-cp38-cp38-linux_aarch64.whl
https://example.org/wheels/rich-13.0.0-py3-none-any.whl#sha256=00
-e git+https://example.org/own.git@main#egg=own-Package
./vendored/click-8.1.0.tar.gz
"""


def test_a_requirements_file_names_what_counts_in_the_training_environment(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("-r deeper.txt\nPillow\n")
    (tmp_path / "more" / "deeper.txt").write_text("msgspec~=0.18\n")
    path = tmp_path / "requirements.txt"
    path.write_text(FILE, encoding="utf-8-sig")
    found = read_requirements(path, trained())
    assert found == [
        NamedPackage("numpy", f"{path}, line 2", "==1.24.4"),
        NamedPackage("scikit-learn", f"{path}, line 3", ">=1.0"),
        NamedPackage("msgspec", f"{tmp_path}/more/deeper.txt, line 1", "~=0.18"),
        NamedPackage("pillow", f"{tmp_path}/more/base.txt, line 2"),
        NamedPackage("torch", f"{path}, line 9"),
        NamedPackage("onnxruntime", f"{path}, line 12"),
        NamedPackage("rich", f"{path}, line 13"),
        NamedPackage("own-package", f"{path}, line 14"),
        NamedPackage("click", f"{path}, line 15"),
    ]
    newer = [each.name for each in read_requirements(path, trained("3.12.1", "x86_64"))]
    assert "tomli" in newer
    assert "torch" not in newer


def test_a_project_here_is_named_by_itself(tmp_path: Path) -> None:
    project = tmp_path / "own project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "Own.Project"\n')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pyproject.toml").write_text("[project\n")
    path = tmp_path / "requirements.txt"
    path.write_text(f"-e {project.as_uri()}\n./own project[extra]\n-e ./own project\n")
    assert names(path) == ["own-project"] * 3
    path.write_text("./broken\n")
    with pytest.raises(BadInput, match=r"'\./broken': names no package"):
        names(path)


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4}){0,2}", fullmatch=True), max_size=8),
    st.data(),
)
def test_what_surrounds_a_name_does_not_change_it(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[str], data: st.DataObject
) -> None:
    around = st.sampled_from(
        [
            "{}",
            "  {}==1.0  # c",
            "{}[a,b]",
            "{} --hash=sha256:00",
            "{}>=1 ; os_name == 'posix'",
            "{}\\\n>=2",
            "\n{}",
        ]
    )
    path = tmp_path_factory.mktemp("named") / "r.txt"
    path.write_text("\n".join(data.draw(around).format(name) for name in wanted))
    assert names(path) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numpy\nnum py\n", "requirements.txt, line 2: 'num py'"),
        ("numpy ==\n", "line 1: 'numpy =='"),
        ("numpy ; python_version\n", "line 1"),
        ("-e .\n", "line 1: '.': names no package"),
        ("./local/folder\n", "line 1: './local/folder': names no package"),
        ("https://example.org/download?id=7\n", "names no package"),
        ("-r gone.txt\n", "there is no such file of requirements"),
        ("-r requirements.txt\n", "includes itself"),
        ("-r https://example.org/r.txt\n", "is no file here"),
    ],
)
def test_a_line_that_names_nothing_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        names(path)
    assert said in refused.value.message


@given(st.text(max_size=80) | st.lists(st.sampled_from(FILE.splitlines()), max_size=4).map("\n".join))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "r.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    for read in (read_requirements, read_pylock):
        try:
            found = read(path, trained())
        except BadInput:
            continue
        assert all(each.name == name_package(each.name, "").name for each in found)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x80abc"])
def test_what_is_no_text_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(data)
    for read in (read_requirements, read_pylock):
        with pytest.raises(BadInput, match="is not UTF-8 text"):
            read(path, trained())
    with pytest.raises(BadInput, match="can't be read"):
        read_requirements(tmp_path, trained())


LOCK = """\
lock-version = "1.0"
created-by = "somebody"

[[packages]]
name = "numpy"
version = "1.24.4"
wheels = [{name = "numpy-1.24.4-py3-none-any.whl", url = "https://example.org/numpy-1.24.4-py3-none-any.whl", hashes = {sha256 = "00"}}]

[[packages]]
name = "tomli"
version = "2.0.1"
marker = "python_version >= '3.11'"
wheels = [{name = "tomli-2.0.1-py3-none-any.whl", url = "https://example.org/tomli-2.0.1-py3-none-any.whl", hashes = {sha256 = "00"}}]

[[packages]]
name = "pytest"
version = "8.0"
marker = "'dev' in dependency_groups"
wheels = [{name = "pytest-8.0-py3-none-any.whl", url = "https://example.org/pytest-8.0-py3-none-any.whl", hashes = {sha256 = "00"}}]
"""  # noqa: E501 - as lock files are


def test_a_lock_file_names_what_its_markers_let_through(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(LOCK)
    assert read_pylock(path, trained()) == [NamedPackage("numpy", f"{path}, line 5", "==1.24.4")]
    assert [each.name for each in read_pylock(path, trained("3.12.0"))] == ["numpy", "tomli"]
    path.write_text('default-groups = ["dev"]\ndependency-groups = ["dev"]\n' + LOCK)
    assert [each.name for each in read_pylock(path, trained())] == ["numpy", "pytest"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numpy==1.0\n", "is no lock file"),
        ('lock-version = "1.0"\n', "is no lock file: Missing required value in 'created-by'"),
        (LOCK.replace('"1.0"', '"9.0"', 1), "is no lock file"),
        (LOCK.replace('name = "numpy"', "name = 7", 1), "packages[0]"),
    ],
)
def test_what_is_no_lock_file_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        read_pylock(path, trained())
    assert said in refused.value.message


def test_versions_are_held_to_what_is_wanted() -> None:
    assert NamedPackage("a", "", ">=1,<2").allows("1.5+cu128")
    assert not NamedPackage("a", "", ">=1,<2").allows("2.0")
    assert NamedPackage("a", "").allows("1.0rc1")
    assert NamedPackage("a", "", "==1").allows("a version of its own")
    assert name_package("Scikit_Learn", "here").name == "scikit-learn"


def test_markers_need_an_interpreter(here: Fingerprint) -> None:
    assert marker_environment(here)["sys_platform"] == "linux"
    with pytest.raises(Undetermined, match="the training interpreter is not known"):
        marker_environment(make_fingerprint({}, "2026-01-01T00:00:00Z", "0"))
