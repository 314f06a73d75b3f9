"""`envcheck smoke`: real bundles, real interpreters, every exit code."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fleet import Commands
from support.tiny_models import SAMPLES, WEIGHTS, classifier_bundle

from envcheck.contract.bundle import Bundle, build_bundle
from envcheck.contract.document import decode
from envcheck.contract.evidence import Smoke


def write(path: Path, bundle: Bundle) -> str:
    path.write_bytes(build_bundle(bundle.manifest.release, bundle.members))
    return str(path)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return write(tmp_path / "tiny.envcheck", classifier_bundle())


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


def dying(tmp_path: Path, what: str) -> str:
    """An interpreter that answers questions, and ends by `what` when it is to run the model."""
    body = f'case "$*" in *child.py*) {what};; *) exec {sys.executable} "$@";; esac'
    return script(tmp_path / "python", body)


def test_a_healthy_machine_is_summed_up_for_people(tiny: str, commands: Commands) -> None:
    said = commands("smoke", tiny, "--quick")
    assert said.code == 0
    assert "tiny@1 on " in said.out
    for words in (
        "16 of 16 as in training",
        "CPUExecutionProvider (as in training)",
        "int8 products",
        "p50",
        "MB at most",
    ):
        assert words in said.out
    assert "smoke: ok" in said.out
    assert "is not signed" in said.err


def test_json_is_one_document_with_the_fingerprint_it_was_measured_under(
    tiny: str, commands: Commands
) -> None:
    said = commands("smoke", tiny, "--quick", "--json")
    document = decode(said.out.encode(), Smoke, "stdout")
    assert (said.code, document.release, document.evidence.ending.status) == (0, "tiny@1", "ok")
    captured = json.loads(commands("capture", "--json").out)
    assert document.evidence.fingerprint == captured["digest"]


def test_a_file_is_written_and_nothing_printed(tiny: str, tmp_path: Path, commands: Commands) -> None:
    said = commands("smoke", tiny, "--quick", "-o", tmp_path / "smoke.json")
    assert (said.code, said.out) == (0, "")
    decode((tmp_path / "smoke.json").read_bytes(), Smoke, "smoke.json")
    assert commands("smoke", tiny, "--quick", "-o", tmp_path / "no" / "smoke.json").code == 2


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("kill -ILL $$", "crash", "an illegal instruction"),
        ("sleep 60", "timeout", "was stopped"),
        ("exit 9", "error", "ended with status 9"),
    ],
)
def test_a_bad_end_is_evidence_and_exits_1(
    tiny: str, tmp_path: Path, commands: Commands, what: str, status: str, words: str
) -> None:
    python, output = dying(tmp_path, what), tmp_path / "smoke.json"
    said = commands("smoke", tiny, "--python", python, "--deadline", "1", "-o", output)
    assert said.code == 1
    assert decode(output.read_bytes(), Smoke, "smoke.json").evidence.ending.status == status
    said = commands("smoke", tiny, "--python", python, "--deadline", "1")
    assert said.code == 1
    assert words in said.out
    assert "exit 1" in said.out


def test_variables_of_the_application_reach_the_model(tiny: str, tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "raise ImportError('this one was found first')", encoding="ascii"
    )
    serving = tmp_path / "app.env"
    serving.write_text(f"PYTHONPATH={tmp_path}\n", encoding="ascii")
    said = commands("smoke", tiny, "--env-file", serving)
    assert said.code == 1
    assert "this one was found first" in said.out


def test_a_provider_can_be_asked_for(tiny: str, commands: Commands) -> None:
    asked = ["--provider", "CUDAExecutionProvider", "--provider", "CPUExecutionProvider"]
    said = commands("smoke", tiny, "--quick", *asked)
    assert "CUDAExecutionProvider did not register" in said.out


def test_the_configuration_bounds_the_run(tiny: str, tmp_path: Path, commands: Commands) -> None:
    config = tmp_path / "config.yaml"
    python = dying(tmp_path, "sleep 60")
    config.write_text(f"python: {python}\nsmoke_deadline_s: 0.5\nsmoke_quick: true\n", encoding="ascii")
    said = commands("smoke", tiny, "--config", config)
    assert said.code == 1
    assert "after 0.5 s" in said.out


def test_memory_that_is_too_little_is_evidence(tiny: str, tmp_path: Path, commands: Commands) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("smoke_memory_mib: 40\n", encoding="ascii")
    for way in (("--memory", "40"), ("--config", config)):
        said = commands("smoke", tiny, "--quick", *way)
        told = " ".join(said.out.split())
        assert said.code == 1
        assert "with an address space of 40 MiB" in told
        assert "raise the limit" in told
        assert "smoke: FAIL (it ran out of memory) at the stage import" in told


def test_memory_that_suffices_changes_no_evidence(tiny: str, tmp_path: Path, commands: Commands) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("smoke_memory_mib: 40\n", encoding="ascii")
    free = commands("smoke", tiny, "--quick", "--json")
    # The option goes before the configuration.
    bounded = commands("smoke", tiny, "--quick", "--json", "--config", config, "--memory", "8000")
    assert (free.code, bounded.code) == (0, 0)
    evidence = [decode(said.out.encode(), Smoke, "stdout").evidence for said in (free, bounded)]
    assert evidence[0] == evidence[1]


def test_with_cuda_the_address_space_is_not_bounded(tiny: str, commands: Commands) -> None:
    """It reserves far more of it than it uses."""
    asked = ["--provider", "CUDAExecutionProvider", "--provider", "CPUExecutionProvider"]
    assert commands("smoke", tiny, "--quick", "--memory", "40", *asked).code == 0


@pytest.mark.parametrize("memory", ["0", "-1", "lots", "1e3", "99999999999"])
def test_a_bound_on_memory_that_makes_no_sense_exits_2(
    tiny: str, tmp_path: Path, commands: Commands, memory: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"smoke_memory_mib: {memory}\n", encoding="ascii")
    for way, name in (("--memory", memory), "--memory"), (("--config", config), "smoke_memory_mib"):
        said = commands("smoke", tiny, *way)
        assert (said.code, said.out) == (2, "")
        assert name in said.err


def changed(**members: bytes) -> Bundle:
    """The small bundle with members replaced, digests right."""
    bundle = classifier_bundle()
    return Bundle(
        bundle.sha256,
        bundle.manifest_bytes,
        bundle.manifest,
        {**bundle.members, **{name.replace("_", "."): data for name, data in members.items()}},
        None,
        bundle.source,
        None,
    )


def npz(**arrays: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere.envcheck"], "there is no such bundle"),
        (["{tiny}", "--deadline", "0"], "the deadline is 0 s"),
        (["{tiny}", "--python", "{tmp}/nowhere"], "there is no interpreter"),
        (["{tiny}", "--python", "/bin/true"], "is not a Python 3 interpreter"),
        (["{tiny}", "--env-file", "{tmp}/nowhere"], "can't be read"),
    ],
)
def test_bad_arguments_exit_2(
    tiny: str, tmp_path: Path, commands: Commands, arguments: list[str], words: str
) -> None:
    said = commands("smoke", *(each.format(tmp=tmp_path, tiny=tiny) for each in arguments))
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"inputs_npz": npz(x=SAMPLES[:, :3])}, "has the shape [16, 3], the model wants [n, 8]"),
        ({"inputs_npz": npz(x=SAMPLES.astype(np.float64))}, "is float64, the model wants float32"),
        ({"inputs_npz": npz(z=SAMPLES)}, "lacks the input 'x'"),
        ({"inputs_npz": npz(x=np.array([None, {}], dtype=object))}, "a pickle"),
        ({"reference_npz": npz(z=SAMPLES)}, "lacks the output 'y'"),
        ({"labels_npz": b"junk"}, "labels.npz is not an npz file"),
    ],
)
def test_bundles_whose_parts_do_not_fit_exit_2(
    tmp_path: Path, commands: Commands, members: dict[str, bytes], words: str
) -> None:
    said = commands("smoke", write(tmp_path / "bad.envcheck", changed(**members)))
    assert (said.code, said.out) == (2, "")
    assert words in said.err


def test_a_truncated_bundle_exits_2(tiny: str, tmp_path: Path, commands: Commands) -> None:
    cut = tmp_path / "cut.envcheck"
    cut.write_bytes(Path(tiny).read_bytes()[:-100])
    said = commands("smoke", cut)
    assert said.code == 2
    assert "truncated" in said.err


def test_a_damaged_bundle_leaves_neither_a_child_nor_files(
    tiny: str, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter is on its way by then: it is stopped, and was given nothing to run."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    data = bytearray(Path(tiny).read_bytes())
    at = bytes(data).index(WEIGHTS.tobytes())
    data[at] ^= 1
    bad = tmp_path / "bad.envcheck"
    bad.write_bytes(data)
    said = commands("smoke", bad)
    assert (said.code, said.out) == (2, "")
    assert "the member model.onnx is damaged: its digest is not the manifest's" in said.err
    assert list(work.iterdir()) == []
    assert not [line for line in command_lines() if str(work) in line]


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes().decode("utf-8", "replace")
