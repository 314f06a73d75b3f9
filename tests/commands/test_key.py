"""`envcheck key`: made once, never overwritten, never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from support.fleet import Commands

from envcheck.contract.keys import load_private_key, load_public_key, public_key_of


def test_a_new_key_is_private_and_its_public_half_is_told(tmp_path: Path, commands: Commands) -> None:
    path = tmp_path / "release.pem"
    said = commands("key", "create", path)
    assert said.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = public_key_of(load_private_key(path.read_bytes(), "release.pem"))
    load_public_key(public, "it")
    assert f"public key  {public}" in said.out
    assert f'release_keys: ["{public}"]' in said.out
    assert "PRIVATE" not in said.out + said.err
    assert commands("key", "show", path).out == f"{public}\n"
    assert [each.name for each in tmp_path.iterdir()] == ["release.pem"]


def test_two_keys_differ(tmp_path: Path, commands: Commands) -> None:
    for name in ("a", "b"):
        assert commands("key", "create", tmp_path / name).code == 0
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_a_key_is_never_overwritten(tmp_path: Path, commands: Commands) -> None:
    path = tmp_path / "release.pem"
    path.write_text("precious")
    said = commands("key", "create", path)
    assert said.code == 2
    assert "exists already; a key is never overwritten" in said.err
    assert path.read_text() == "precious"
    assert [each.name for each in tmp_path.iterdir()] == ["release.pem"]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path, commands: Commands) -> None:
    said = commands("key", "create", tmp_path / "nowhere" / "release.pem")
    assert said.code == 2
    assert f"there is no directory {tmp_path / 'nowhere'}" in said.err


@pytest.mark.parametrize(
    ("content", "words"), [(None, "there is no such key"), ("hello", "is not an unencrypted private key")]
)
def test_show_refuses_what_is_no_key(
    content: str | None, words: str, tmp_path: Path, commands: Commands
) -> None:
    path = tmp_path / "release.pem"
    if content is not None:
        path.write_text(content)
    said = commands("key", "show", path)
    assert said.code == 2
    assert words in said.err
