"""`envcheck push` against a real collector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.fleet import Bundles, Collector, Commands, Said

Push = Callable[..., Said]


@pytest.fixture
def push(commands: Commands, collector: Collector, push_token: str) -> Push:
    return lambda *arguments: commands(
        "push", *arguments, "--collector", collector.url, "--token", push_token
    )


@pytest.fixture
def bundle(bundles: Bundles, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return bundles.write(tmp_path / "b.envcheck", f"push@{request.node.name[:60].strip('_[]')}")


def test_a_release_is_told_with_what_comes_next(push: Push, bundle: Path) -> None:
    said = push(bundle, "--for", "line=press")
    assert said.code == 0, said.err
    assert "is released for devices with line=press, revision 1, policy default" in said.out
    assert "next: envcheck gate push@" in said.out


def test_the_same_again_changes_nothing_another_policy_does(push: Push, bundle: Path) -> None:
    assert push(bundle) == push(bundle)
    assert "revision 2, policy strict" in push(bundle, "--policy", "strict").out
    assert "revision 3" in push(bundle, "--policy", "strict", "--for", "env=prod").out


def test_a_policy_of_ones_own(push: Push, bundle: Path, tmp_path: Path) -> None:
    policy = tmp_path / "mine.yaml"
    policy.write_text(
        "name: mine\nrules:\n- {path: python.version, compare: equal, severity: block}\n", encoding="utf-8"
    )
    assert "policy mine" in push(bundle, "--policy", policy).out


def test_other_bytes_under_a_known_name_are_refused(push: Push, bundle: Path, bundles: Bundles) -> None:
    push(bundle)
    release = f"push@{'test_other_bytes_under_a_known_name_are_refused'}"
    bundles.write(bundle, release, numpy="1.0.0")
    said = push(bundle)
    assert (said.code, release in said.err) == (2, True), said.err


def test_an_unsigned_bundle_is_refused_before_it_travels(
    push: Push, bundles: Bundles, tmp_path: Path
) -> None:
    said = push(bundles.write(tmp_path / "u.envcheck", "push@unsigned", signed=False))
    assert (said.code, "u.envcheck is not signed" in said.err) == (2, True)
    assert "envcheck baseline sign" in said.err


def test_damaged_and_missing_files(push: Push, bundle: Path, tmp_path: Path) -> None:
    missing = push(tmp_path / "nowhere.envcheck")
    assert (missing.code, "nowhere.envcheck" in missing.err) == (2, True)
    whole = bundle.read_bytes()
    for damaged in (b"", b"PK", whole[: len(whole) // 2], whole[:-1], whole[:2000] + b"!" + whole[2001:]):
        bundle.write_bytes(damaged)
        said = push(bundle)
        assert (said.code, str(bundle) in said.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--for", "line=press,"], "character 12"),
        (["--policy", "stricter"], "stricter"),
        (["--policy", "/nowhere/p.yaml"], "/nowhere/p.yaml"),
    ],
)
def test_bad_options_are_named(push: Push, bundle: Path, options: list[str], named: str) -> None:
    said = push(bundle, *options)
    assert (said.code, named in said.err) == (2, True), said.err


def test_a_policy_with_an_unknown_comparator_is_named_with_its_place(
    push: Push, bundle: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "mine.yaml"
    policy.write_text("name: mine\nrules:\n- {path: python.version, compare: similar, severity: block}\n")
    said = push(bundle, "--policy", policy)
    assert said.code == 2
    assert "mine.yaml" in said.err
    assert "similar" in said.err


def test_a_token_that_may_only_ask(
    commands: Commands, collector: Collector, gate_token: str, bundle: Path
) -> None:
    said = commands("push", bundle, "--collector", collector.url, "--token", gate_token)
    assert (said.code, "baseline:write" in said.err) == (2, True)
    assert gate_token not in said.err


def test_nobody_there(commands: Commands, bundle: Path) -> None:
    said = commands("push", bundle, "--collector", "http://127.0.0.1:9", "--token", "t")
    assert (said.code, "can't be reached" in said.err) == (4, True)
