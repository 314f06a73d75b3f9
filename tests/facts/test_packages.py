from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.facts.interpreter import Distribution
from envcheck.facts.packages import (
    canonical_name,
    packages,
    parse_source,
    parse_tags,
    strip_credentials,
    without_token,
)


def distribution(name: str, version: str, folder: str = "/site", **more: str) -> Distribution:
    values = {"metadata": f"Name: {name}\nVersion: {version}", "build": "b1", "kind": "dist-info", **more}
    return Distribution(folder=folder, file=f"{name}-{version}.dist-info", **values)


def test_the_local_label_stands_apart() -> None:
    found = packages([distribution("torch", "2.13.0+cu126")])
    assert (found["torch"].version, found["torch"].local) == ("2.13.0", "cu126")


def test_names_are_canonical() -> None:
    assert list(packages([distribution("Typing__Extensions.X", "1")])) == ["typing-extensions-x"]
    assert canonical_name("A_.-b") == "a-b"


def test_the_first_on_the_path_wins_and_the_hidden_one_is_told() -> None:
    found = packages([distribution("numpy", "1.26.4"), distribution("Numpy", "2.0.0", folder="/later")])
    assert found["numpy"].version == "1.26.4"
    assert [copy.version for copy in found["numpy"].shadowed] == ["2.0.0"]
    assert not found["numpy"].shadowed[0].same_folder


def test_two_versions_in_one_folder_are_told_as_such() -> None:
    found = packages([distribution("numpy", "1.26.4"), distribution("numpy", "2.0.0")])
    assert found["numpy"].shadowed[0].same_folder


@pytest.mark.parametrize(
    ("item", "name", "said"),
    [
        (Distribution(folder="/s", file="a-1.0.dist-info", kind="dist-info", build="b"), "a", "no metadata"),
        (distribution("a", "1", metadata="Name: a"), "a", "no Version"),
        (distribution("a", "1", metadata=""), "a", "no Name and no Version"),
        (
            Distribution(folder="/s", file="a-1.dist-info", kind="dist-info", metadata="Name: a\nVersion: 1"),
            "a",
            "no RECORD",
        ),
        (distribution("a", "1", build=""), "a", "RECORD has no hashes"),
        (distribution("a", "1", build="", installer="pip\n"), "a", "RECORD has no hashes"),
        (distribution("~umpy", "1"), "~umpy", "interrupted"),
    ],
)
def test_broken_metadata_is_a_fact(item: Distribution, name: str, said: str) -> None:
    assert said in packages([item])[name].broken


@pytest.mark.parametrize("installer", ["debian", "rpm"])
def test_a_system_may_take_the_record_away(installer: str) -> None:
    item = Distribution(
        folder="/usr/lib/python3/dist-packages", file="PyYAML-6.0.1.dist-info", kind="dist-info",
        metadata="Name: PyYAML\nVersion: 6.0.1", installer=f"{installer}\n",
    )  # fmt: skip
    assert packages([item])["pyyaml"].broken == ""


def test_name_and_version_come_from_the_file_name_where_metadata_is_missing() -> None:
    item = Distribution(folder="/s", file="my_pkg-1.0_cu126.dist-info", kind="dist-info")
    entry = packages([item])["my-pkg"]
    assert (entry.version, entry.local) == ("1.0", "cu126")
    debian = Distribution(folder="/s", file="PyYAML-6.0-py3.11.egg-info", kind="egg-info")
    assert packages([debian])["pyyaml"].version == "6.0"


def test_an_egg_link_makes_it_editable() -> None:
    found = packages([distribution("app", "1", kind="egg-info")], linked={"app"})
    assert found["app"].source is not None
    assert found["app"].source.kind == "editable"
    assert found["app"].build == ""


SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    ("told", "kind", "url"),
    [
        ({"url": f"https://user:{SECRET}@git.example/x.git", "vcs_info": {"commit_id": "c0ffee"}},
         "vcs", "https://git.example/x.git"),
        ({"url": f"https://{SECRET}@host/a.whl#sha256={SECRET}", "archive_info": {}}, "archive", "https://host/a.whl"),
        ({"url": f"https://host/a.whl?token={SECRET}", "archive_info": {}}, "archive", "https://host/a.whl"),
        ({"url": "file:///home/me/a.whl", "archive_info": {"hashes": {"sha256": "d1"}}}, "local", ""),
        ({"url": "file:///home/me/src", "dir_info": {}}, "local", ""),
        ({"url": "file:///home/me/src", "dir_info": {"editable": True}}, "editable", ""),
        ([1], "unreadable", ""),
    ],
)  # fmt: skip
def test_where_it_came_from_without_credentials_or_paths(told: object, kind: str, url: str) -> None:
    source = parse_source(json.dumps(told))
    assert source is not None
    assert (source.kind, source.url) == (kind, url)
    assert SECRET not in repr(source)
    assert "/home" not in repr(source)


@pytest.mark.parametrize(
    "archive",
    [
        {"hashes": {"sha256": "ab12"}},
        {"hash": "sha256=ab12"},
        {"hash": "sha256=no", "hashes": {"sha256": "ab12"}},
    ],
)
def test_the_digest_of_an_archive(archive: object) -> None:
    source = parse_source(json.dumps({"url": "https://host/a.whl", "archive_info": archive}))
    assert source is not None
    assert source.digest == "ab12"


KEYS = st.sampled_from(["url", "vcs_info", "archive_info", "dir_info", "hashes", "editable", "commit_id"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@given(st.text(max_size=200) | DOCUMENTS.map(json.dumps))
def test_any_direct_url_is_read(text: str) -> None:
    source = parse_source(text)
    assert source is not None
    assert source.kind in ("vcs", "archive", "local", "editable", "unreadable")


@pytest.mark.parametrize(
    ("channel", "left"),
    [
        ("https://conda.example/t/tk-1234/main/linux-64", "https://conda.example/main/linux-64"),
        ("https://conda.example/t/tk-1234", "https://conda.example"),
        ("conda-forge", "conda-forge"),
    ],
)
def test_a_token_in_a_channel_is_dropped(channel: str, left: str) -> None:
    assert without_token(channel) == left


@given(st.text("ab", min_size=1), st.text("s@: \t", min_size=1), st.text("abc/", max_size=9))
def test_no_credentials_survive(host: str, secret: str, path: str) -> None:
    assert (
        "@" not in strip_credentials(f"https://{secret}@{host}/{path}").partition("://")[2].partition("/")[0]
    )


def test_tags_are_sorted_and_told_once() -> None:
    wheel = "Wheel-Version: 1.0\r\nTag: cp311-cp311-b\r\nTag: cp311-cp311-a\r\nTag: cp311-cp311-a\r\n"
    assert parse_tags(wheel) == ["cp311-cp311-a", "cp311-cp311-b"]


@given(st.text(max_size=60), st.text(max_size=200), st.text(max_size=200), st.text(max_size=20))
def test_any_distribution_is_an_entry(file: str, metadata: str, wheel: str, installer: str) -> None:
    item = Distribution(
        folder="/s", file=file, kind="dist-info", metadata=metadata, wheel=wheel, installer=installer
    )
    assert len(packages([item])) == 1
