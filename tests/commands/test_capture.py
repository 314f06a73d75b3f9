from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest

from envcheck.cli import COMMANDS, envcheck, run_cli
from envcheck.commands import capturing, configuration
from envcheck.contract.document import decode
from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, fingerprint_objects

HEAVY = {"rich", "numpy", "requests", "yaml", "cryptography", "onnxruntime", "torch", "psutil", "cpuinfo"}
HOSTS = Path(__file__).parents[1] / "hosts"
SCHEMA = Path(__file__).parents[2] / "schemas" / "fingerprint-1.json"


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVCHECK_CONFIG", raising=False)


def run(*arguments: str) -> int:
    return run_cli(envcheck, ["capture", *arguments])


def test_the_document_is_whole_and_decodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    printed = capsys.readouterr()
    found = decode(printed.out.encode(), Fingerprint, "stdout")
    assert tuple(found.sections) == tuple(sorted(SECTION_NAMES))
    assert found.digest == fingerprint_objects(found.sections)[0]
    assert json.loads(printed.out)["format"] == Fingerprint.FORMAT
    assert printed.err == ""


@pytest.mark.parametrize("tree", [None, "mini-pc-alpine-musl", "server-a100-mig"])
def test_the_document_fits_its_schema(tree: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", *(["--root", str(HOSTS / tree / "root")] if tree else [])) == 0
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    schema.validate(json.loads(capsys.readouterr().out))


def test_one_screen_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert len(lines) <= 40
    for name in SECTION_NAMES:
        assert any(name in line.split() for line in lines), name
    assert "Python" in printed.out
    assert "\x1b" not in printed.out
    assert printed.err == ""


def test_a_captured_tree_is_read_instead_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--root", str(HOSTS / "industrial-pc-haswell/root")) == 0
    printed = capsys.readouterr().out
    assert "press-07: Advantech ARK-3500" in printed
    assert "i5-4590" in printed
    assert "AVX2 without VNNI" in printed


def test_what_has_no_place_on_the_screen_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("envcheck.output.capture._MAX_REMARKS", 0)
    tree = ("--root", str(HOSTS / "industrial-pc-haswell/root"))
    assert run(*tree) == 0
    printed = capsys.readouterr().out
    assert "AVX2 without VNNI" not in printed
    assert "all of them: --format text -o FILE" in printed
    assert run(*tree, "--format", "text", "-o", str(tmp_path / "capture.txt")) == 0
    assert "AVX2 without VNNI" in (tmp_path / "capture.txt").read_text()


def test_sections_are_narrowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--section", "cpu", "--section", "memory", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["sections"]) == ["cpu", "memory"]


def test_a_file_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fingerprint.json"
    out.write_text("old")
    assert run("-o", str(out), "--section", "cpu") == 0
    assert decode(out.read_bytes(), Fingerprint, str(out)).sections["cpu"].status == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprint.json"]
    assert capsys.readouterr().out == ""


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run("-o", str(pipe), "--section", "cpu") == 0
    assert pipe.is_fifo()
    reader.join(20)
    assert decode(read[0], Fingerprint, "pipe").sections["cpu"].status == "ok"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """As /dev/stdout is one: root must not replace it for everybody."""
    link, target = tmp_path / "stdout", tmp_path / "target"
    link.symlink_to(target)
    assert run("-o", str(link), "--section", "cpu") == 0
    assert link.is_symlink()
    assert decode(target.read_bytes(), Fingerprint, "target").sections["cpu"].status == "ok"


def test_another_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    assert run("--python", str(tmp_path / "venv/bin/python"), "--json") == 0
    sections = json.loads(capsys.readouterr().out)["sections"]
    assert sections["python"]["device"]["prefix"] == str(tmp_path / "venv")
    assert sections["onnxruntime"]["status"] == "absent"


def test_the_configuration_names_the_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "app.env").write_text("OMP_NUM_THREADS=3\n")
    config = tmp_path / "config.yaml"
    config.write_text("python: ./python\nenv_file: app.env\n")
    assert run("--config", str(config), "--json") == 0
    sections = json.loads(capsys.readouterr().out)["sections"]
    assert sections["variables"]["shared"]["values"] == {"OMP_NUM_THREADS": "3"}
    assert not sections["python"]["shared"]["isolated"]
    assert str(configuration.DEFAULT_PATH) == capturing.CONFIGURATION


def test_a_failing_section_is_told_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    liar = tmp_path / "python"
    liar.write_text('#!/bin/sh\n[ "$2" = -S ] && echo python3 || sleep 100\n')
    liar.chmod(0o755)
    assert run("--python", str(liar), "--deadline", "3") == 0
    printed = capsys.readouterr().out
    assert "did not answer before the deadline" in printed
    assert "looks wrong already" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--python", "/no/such/python"], "/no/such/python"),
        (["--python", "/bin/true"], "/bin/true is not a Python 3 interpreter"),
        (["--section", "gpu"], "no section 'gpu'"),
        (["--deadline", "0"], "--deadline"),
        (["--deadline", "nan"], "--deadline"),
        (["--deadline", "soon"], "--deadline"),
        (["--root", "/no/such/root"], "/no/such/root"),
        (["--env-file", "/no/such.env"], "/no/such.env"),
        (["--config", "/no/such.yaml"], "/no/such.yaml"),
        (["-o", "/no/such/folder/f.json"], "/no/such/folder/f.json can't be written"),
        (["-o", "/"], "can't be written"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_named_and_exits_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_root_that_is_no_root_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--root", str(tmp_path)) == 2
    assert "no root file system" in capsys.readouterr().err


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import resource, signal, sys; from envcheck.cli import envcheck, run_cli; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
        "sys.exit(run_cli(envcheck, ['capture', '--section', 'cpu', '-o', sys.argv[1]]))"
    )
    out = tmp_path / "fingerprint.json"
    done = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "can't be written: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_secrets_of_the_caller_are_not_captured(tmp_path: Path) -> None:
    secrets = {"NVIDIA_API_KEY": "s3cr3t-1", "TORCH_URL": "https://u:s3cr3t-2@h/", "X": "s3cr3t-3"}
    environ = {**os.environ, **secrets}
    code = "from envcheck.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "capture", "--json"], env=environ, capture_output=True, check=True
    )
    assert b"s3cr3t" not in done.stdout
    assert b"https://h/" in done.stdout


def test_nothing_heavy_is_imported_for_the_document() -> None:
    code = (
        "import sys; from envcheck.cli import envcheck, run_cli; run_cli(envcheck, ['capture', '--json']); "
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    environ = {name: value for name, value in os.environ.items() if name != "ENVCHECK_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_help_begins_as_the_list_of_commands_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert COMMANDS["capture"] in printed
    assert "Examples:" in printed
    for name in SECTION_NAMES:
        assert name in printed
