"""schemas/ is what the types say, and what is really written fits it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.documents import document_kinds, documents

from envcheck.contract.document import Document, encode
from envcheck.contract.yaml_text import read_yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "export_schemas.py"
SCHEMAS = ROOT / "schemas"
KINDS = document_kinds()


def load(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text(encoding="utf-8")))


def file_of(kind: type[Document]) -> str:
    return f"{kind.FORMAT.removeprefix('envcheck.').replace('/', '-').rpartition('.')[0]}.json"


VALIDATORS = {kind: load(file_of(kind)) for kind in KINDS if (SCHEMAS / file_of(kind)).exists()}
# These look at the form of a document, not at its values.
few = settings(max_examples=max(5, settings.default.max_examples // 5))
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.FORMAT)


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    script = directory / "scripts" / SCRIPT.name
    return subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)


def test_they_are_current() -> None:
    found = check(ROOT)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_stale_a_missing_and_a_foreign_file_are_told(tmp_path: Path) -> None:
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    assert check(tmp_path).returncode == 0
    (tmp_path / "schemas" / "report-1.json").write_text("{}", encoding="utf-8")
    (tmp_path / "schemas" / "smoke-1.json").unlink()
    (tmp_path / "schemas" / "odd.json").write_text("{}", encoding="utf-8")
    found = check(tmp_path)
    assert found.returncode == 1
    told = [line.split()[0] for line in found.stderr.splitlines()]
    assert told == ["schemas/odd.json", "schemas/report-1.json", "schemas/smoke-1.json"]


def test_no_document_is_without_a_schema() -> None:
    there = {path.name for path in SCHEMAS.glob("*.json")}
    assert there == {file_of(kind) for kind in KINDS} | {"policy-file-1.json", "configuration-1.json"}


@pytest.mark.parametrize("name", sorted(path.name for path in SCHEMAS.glob("*.json")))
def test_they_are_schemas_and_the_readme_says_what_each_is(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(load(name).schema)
    assert f"[{name}]({name}) | " in (SCHEMAS / "README.md").read_text(encoding="utf-8")


@every_kind
@few
@given(st.data())
def test_what_is_written_fits(kind: type[Document], data: st.DataObject) -> None:
    VALIDATORS[kind].validate(json.loads(encode(data.draw(documents(kind)))))


@every_kind
@few
@given(st.data())
def test_another_format_does_not_fit(kind: type[Document], data: st.DataObject) -> None:
    document = json.loads(encode(data.draw(documents(kind))))
    other = kind.FORMAT.replace("/1.", "/2.")
    for changed in ({**document, "format": other}, {**document, "format": "x"}, {**document, "format": 1}):
        assert not VALIDATORS[kind].is_valid(changed)
    del document["format"]
    assert not VALIDATORS[kind].is_valid(document)
    assert VALIDATORS[kind].is_valid({**document, "format": kind.FORMAT.replace("/1.0", "/1.7")})


@every_kind
@few
@given(st.data())
def test_a_required_field_may_not_be_missing(kind: type[Document], data: st.DataObject) -> None:
    document = json.loads(encode(data.draw(documents(kind))))
    for name in VALIDATORS[kind].schema["required"]:
        assert not VALIDATORS[kind].is_valid({key: item for key, item in document.items() if key != name})


POLICIES = sorted((ROOT / "agent" / "envcheck" / "judge").rglob("*.yaml"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_the_policies_as_they_are_written_fit(path: Path) -> None:
    policy = read_yaml(path.read_text(encoding="utf-8"), path.name)
    load("policy-file-1.json").validate(policy)
    assert not load("policy-file-1.json").is_valid({**policy, "rule": []})


def test_there_are_policies_to_test() -> None:
    assert {path.stem for path in POLICIES} >= {"default", "strict", "inventory"}


CONFIGURATION = """
device: press-07
python: /opt/app/venv/bin/python
collector: https://collector.example
release_keys: [PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=]
smoke_deadline_s: 60
"""


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"smoke_quick": True}, True),
        ({"colector": "x"}, False),
        ({"smoke_deadline_s": 0}, False),
        ({"smoke_memory_mib": 512}, True),
        ({"smoke_memory_mib": 0}, False),
        ({"release_keys": "x"}, False),
    ],
)
def test_the_configuration_as_it_is_written_fits(changes: dict[str, Any], fits: bool) -> None:
    assert load("configuration-1.json").is_valid({**yaml.safe_load(CONFIGURATION), **changes}) is fits


def test_the_script_finds_the_documents_that_this_test_finds() -> None:
    spec = importlib.util.spec_from_file_location("export_schemas", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.kinds() == KINDS
