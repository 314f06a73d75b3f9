"""`envcheck diff`: two environments as files, judged without a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.builders import sections
from support.tiny_models import classifier_bundle

from envcheck.cli import envcheck, run_cli
from envcheck.contract.bundle import build_bundle
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import Section, make_fingerprint


def fingerprint_file(path: Path, **changed: Section) -> str:
    path.write_bytes(encode(make_fingerprint(sections(**changed), "2026-01-01T00:00:00Z", "0.1.0")))
    return str(path)


def packages(**versions: str) -> Section:
    return Section(status="ok", shared={name: {"version": version} for name, version in versions.items()})


@pytest.fixture
def training(tmp_path: Path) -> str:
    return fingerprint_file(tmp_path / "training.json")


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    opened = classifier_bundle()
    path = tmp_path / "tiny.envcheck"
    path.write_bytes(build_bundle(opened.manifest.release, opened.members))
    return str(path)


def diff(*arguments: str) -> int:
    return run_cli(envcheck, ["diff", *arguments])


def test_equal_environments_pass(training: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(training, training) == 0
    assert "verdict: pass" in capsys.readouterr().out


def test_every_package_of_the_first_counts(
    training: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = fingerprint_file(
        tmp_path / "device.json", packages=packages(numpy="1.26.4", onnxruntime="1.32.0", rich="15.0.0")
    )
    assert diff(training, device) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert "packages.numpy 1.26.4 here, 2.4.6 in training" in " ".join(out.split())
    assert "exit 1" in out


def test_what_is_unreadable_is_unknown(training: str, tmp_path: Path) -> None:
    device = fingerprint_file(
        tmp_path / "d.json", packages=Section(status="unreadable", reason="may not look")
    )
    assert diff(training, device) == 3


def test_json_is_a_verdict(training: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(training, training, "--json") == 0
    verdict: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert verdict["format"] == "envcheck.verdict/1.0"
    assert verdict["outcome"] == "pass"


def test_a_bundle_without_evidence_is_unknown(bundle: str, training: str) -> None:
    assert diff(bundle, training) == 3


def test_two_fingerprints_have_no_evidence(training: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(training, training, "--policy", "strict") == 2
    assert "needs evidence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"format": "envcheck.report/1.0"}', "holds a report"),
        (b'{"format": "envcheck.fingerprint/2.0"}', "version 2.0"),
        (b"PK\x03\x04", "truncated"),
        (b'{"format":"envcheck.fingerprint/1.0","captured_at":1}', "captured_at"),
    ],
)
def test_what_cannot_be_compared_is_named(
    content: bytes, message: str, training: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    assert diff(str(bad), training) == 2
    err = capsys.readouterr().err
    assert "bad.json" in err
    assert message in err


def test_a_file_that_is_not_there(training: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(training, "/nonexistent") == 2
    assert "/nonexistent" in capsys.readouterr().err


def test_a_hostile_fingerprint_is_inert_on_the_terminal(
    training: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = "\x1b]0;owned\x07[bold]x[/bold]"
    device = fingerprint_file(
        tmp_path / "device.json",
        packages=packages(numpy=payload),
        cpu=Section(status="ok", shared={"model": payload, "isa": [payload]}),
        system=Section(status="unreadable", reason=payload, device={"hostname": payload}),
    )
    assert diff(training, device) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]x[/bold]" in out
