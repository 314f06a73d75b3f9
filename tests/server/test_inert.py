"""A payload in every string of a device does nothing in the log, on a terminal, or in any format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from support import builders
from support.collector import Device, Holder, make_bundle
from support.process import Process
from support.soak import collector, operate

from envcheck.commands.gate import FORMATS
from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.document import encode
from envcheck.contract.evidence import Ending, Library, Placement, ThreadPool
from envcheck.contract.fingerprint import Section
from envcheck.contract.wire import Enrolment, Report, Result

# Hundreds of devices, each with another string that is hostile.
pytestmark = pytest.mark.slow

# What a terminal, a log, a job of CI, a browser, Markdown and a spreadsheet would take as theirs.
PAYLOAD = (
    "::error::owned\x1b[2J\x1b]0;owned\x07\x9b31m\r\n2026-01-01T00:00:00Z ERROR envcheck_server: forged\n"
    "::error::owned ##[error]owned ##vso[task.setvariable variable=PATH]owned\n\u202e\u2066\u200b\u2028"
    "<script>alert(1)</script><img src=x onerror=alert(1)>[click](https://evil.example/)"
    "![x](https://evil.example/i.png) www.evil.example `code` | @everyone\t=HYPERLINK(1)"
)
_EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR|CRITICAL) \S+: ")


def poisoned(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the value with the payload in the place of one string, or of one key, for each there is."""
    if isinstance(value, str):
        yield path, PAYLOAD
    elif isinstance(value, list):
        for at, item in enumerate(value):
            for name, changed in poisoned(item, f"{path}[{at}]"):
                yield name, [*value[:at], changed, *value[at + 1 :]]
    elif isinstance(value, dict):
        for key, item in value.items():
            rest = {name: one for name, one in value.items() if name != key}
            yield f"{path}.{key}?", {**rest, PAYLOAD: item}
            for name, changed in poisoned(item, f"{path}.{key}"):
                yield name, {**rest, key: changed}


def facts() -> dict[str, Section]:
    """A fingerprint in which there is every kind of fact that people are shown."""
    told = {
        "system": {"machine": "x86_64", "kernel": "6.1", "os": {"id": "debian", "version_id": "12"}},
        "cpu": {"model": "Some CPU", "isa": ["avx2", "avx512_vnni", "sse4_2"]},
        "variables": {"values": {"OMP_NUM_THREADS": "4"}},
        "cuda": {"driver": "550.1", "gpus": [{"name": "Some GPU"}]},
    }
    more = {name: Section(status="ok", shared=shared) for name, shared in told.items()}
    return builders.sections(**more)


@dataclass
class Hostile:
    """A device; what it says is JSON of the right kind with one string changed."""

    device: Device
    about: str

    def say(self, sections: dict[str, Any], evidence: bytes, bundle: str) -> None:
        objects = {digest(one): one for one in map(canonical_json, sections.values())}
        names = {name: digest(canonical_json(one)) for name, one in sections.items()}
        whole = canonical_json({"format": "envcheck.fingerprint-digests/1.0", "sections": names})
        measured = Result(evidence=digest(evidence), measured_at=self.device.now())
        report = self.device.compose(fingerprint=digest(whole), results={bundle: measured})
        assert self.device.put_report(report).status_code == 200, self.about
        for one in (whole, *objects.values(), evidence):
            assert self.device.put_object(one).status_code in (200, 400), self.about


def section(name: str, one: Section) -> dict[str, Any]:
    told = {"format": "envcheck.section/1.0", "name": name, "status": one.status}
    return {**told, "facts": one.shared} if one.shared else {**told, "reason": one.reason}


def measured(fingerprint: str, bundle: str, **changed: Any) -> dict[str, Any]:
    """Evidence in which there is every string that there can be."""
    fields: dict[str, Any] = {
        "fingerprint": fingerprint,
        "ending": Ending(status="error", stage="session", reason="no such kernel", hint="upgrade"),
        "fallbacks": {"CUDAExecutionProvider": "libcublas.so.12 is missing"},
        "placement": Placement(
            source="assignment",
            nodes={"CPUExecutionProvider": {"MatMul": 3}},
            astray={"CPUExecutionProvider": ["MatMul x"]},
        ),
        "libraries": [Library(name="libx.so", build_id="ab", path="{prefix}/libx.so", version="1")],
        "thread_pools": [ThreadPool(kind="blas", library="libblas.so", version="1", core="Haswell")],
        "output_order": ["logits"],
        **changed,
    }
    return dict(json.loads(encode(builders.evidence(bundle=bundle, **fields))))


@dataclass
class Stage:
    """A collector that hostile devices reported to."""

    process: Process
    bundle: str
    gate: str
    hostile: int

    def envcheck(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "envcheck", *arguments, "--collector", self.process.url]
        environ = {**os.environ, "ENVCHECK_TOKEN": self.gate}
        return subprocess.run(command, capture_output=True, timeout=120, env=environ)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with collector(tmp_path_factory.mktemp("inert")) as process:
        process.flags = ["--log-level", "debug"]
        process.start()
        with process.client() as http, operate(process) as services:
            data = make_bundle(required=["numpy", "onnxruntime"])
            Holder(http, services.tokens.create("baseline:write")[0]).push(data)
            yield Stage(
                process,
                digest(data),
                services.tokens.create("gate:read")[0],
                say_everything(http, services, digest(data)),
            )


def say_everything(http: Any, services: Any, bundle: str) -> int:
    """Let a device of its own send each variant; return how many there were."""
    whole = {name: section(name, one) for name, one in facts().items()}
    healthy = whole_name(whole)
    said: list[tuple[str, dict[str, Any], bytes]] = []
    for name, one in whole.items():
        for about, changed in poisoned(one):
            variant = {**whole, name: changed}
            ok = measured(whole_name(variant), bundle, ending=Ending(status="ok", stage="done"))
            said.append((about, variant, canonical_json(ok)))
    for ending in (
        Ending(status="ok", stage="done"),
        Ending(status="error", stage="run", reason="x", hint="y"),
    ):
        for about, changed in poisoned(measured(healthy, bundle, ending=ending)):
            said.append((about, whole, canonical_json(changed)))
    said.append(
        (
            "nothing",
            whole,
            canonical_json(measured(healthy, bundle, ending=Ending(status="ok", stage="done"))),
        )
    )
    for number, (about, sections, evidence) in enumerate(said):
        device = Device(http, f"d-{number:03}")
        device.enrol(services.tokens.create("enroll", uses=1)[0])
        Hostile(device, about).say(sections, evidence, bundle)
    return len(said)


def whole_name(sections: dict[str, Any]) -> str:
    names = {name: digest(canonical_json(one)) for name, one in sections.items()}
    return digest(canonical_json({"format": "envcheck.fingerprint-digests/1.0", "sections": names}))


def hold_inert(text: str, *, data: bool = False) -> None:
    """Nothing but printable characters and line breaks, and no line that somebody else would obey.

    `data` is one line that is exactly what was sent, once it was decoded.
    """
    strange = {char for char in text if not (char.isprintable() or char == "\n")}
    assert strange == set()
    for line in text.split("\n"):
        assert not line.lstrip().startswith(("::", "##[")), line
        assert not line.startswith("2026-01-01T00:00:00Z ERROR"), line
        assert data or not re.search(r"##(vso|teamcity)?\[", line), line


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)


@pytest.mark.parametrize("form", FORMATS)
def test_the_gate_in_every_format(stage: Stage, form: str) -> None:
    said = stage.envcheck("gate", "digits@1.0", "--format", form)
    assert said.returncode in (1, 3), said.stderr
    hold_inert(said.stderr.decode())
    text = said.stdout.decode()
    hold_inert(text, data=form == "json")
    assert "owned" in text, "otherwise the payload did not come this far"
    if form in ("json", "sarif"):
        assert text.isascii()
        found = json.loads(text)
        if form == "sarif":
            for one in strings(found):
                hold_inert(one)
            (run,) = found["runs"]
            messages = [one["message"]["text"] for one in run["results"]]
            messages += [one["shortDescription"]["text"] for one in run["tool"]["driver"]["rules"]]
            assert not any(re.search(r"(?<!\\)\]\(", one) for one in messages), "a link in a message"
    elif form == "junit":
        root = ElementTree.fromstring(text)
        assert {one.tag for one in root.iter()} <= {
            "testsuites",
            "testsuite",
            "testcase",
            "failure",
            "error",
            "skipped",
            "system-out",
            "properties",
            "property",
        }
        for one in root.iter():
            hold_inert("".join([one.text or "", *one.attrib.values()]))
    elif form == "markdown":
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        flat = [inner for token in tokens for inner in (token, *(token.children or []))]
        kinds = {token.type for token in flat if token.content.strip() != "<!-- -->"}
        assert kinds & {"link_open", "image", "html_block", "code_inline", "html_inline"} == set()
        assert "@everyone" not in text


@pytest.mark.parametrize("options", [[], ["--release", "digits@1.0"]], ids=["plain", "release"])
def test_the_table_of_devices(stage: Stage, options: list[str]) -> None:
    said = stage.process.run("device", "list", *options)
    assert said.returncode == 0, said.stderr
    hold_inert(said.stdout)
    assert len(said.stdout.splitlines()) == stage.hostile + 1
    as_json = stage.process.run("device", "list", *options, "--json").stdout
    assert as_json.isascii()
    hold_inert(as_json, data=True)
    assert "owned" in as_json


def test_what_is_refused_is_told_and_logged_inertly(stage: Stage) -> None:
    """Every string of an enrolment and of a report, with the log as text and as JSON."""
    process = stage.process
    for flags in (["--log-level", "debug"], ["--log-level", "debug", "--log-format", "json"]):
        assert process.stop() == 0
        process.flags = flags
        (process.directory / "log").unlink()
        process.start()
        send_refused(process)
        assert process.stop() == 0
        hold_inert(process.log)
        assert "owned" in process.log
        lines = process.log.splitlines()
        if "json" in flags:
            events = [json.loads(line) for line in lines]
            assert all(one.isprintable() for event in events for one in strings(event))
        else:
            assert all(_EVENT.match(line) or line.startswith(("  ", "listening on ")) for line in lines)
        process.start()


def send_refused(process: Process) -> None:
    with process.client() as http, operate(process) as services:
        device = Device(http, "press-07")
        secret, _ = services.tokens.create("enroll", uses=1)
        enrolment = Enrolment(
            token=secret, device="press-07", public_key=device.public, hardware="h", labels={"line": "press"}
        )
        for about, changed in poisoned(json.loads(encode(enrolment))):
            answer = device.send("POST", "/v1/enroll", canonical_json(changed))
            assert answer.status_code < 500, about
            assert answer.content.isascii(), about
        device.enrol(services.tokens.create("enroll", uses=1)[0])
        report: Report = device.compose(
            hardware="h",
            readings={"memory.available_mb": "x"},
            results={"a" * 64: Result(evidence="b" * 64, measured_at=device.now())},
        )
        for number, (about, changed) in enumerate(poisoned(json.loads(encode(report)))):
            changed["seq"] = number + 1
            answer = device.send("PUT", "/v1/devices/press-07/report", canonical_json(changed))
            assert answer.status_code < 500, about
            assert answer.content.isascii(), about
        # The header of a signature, and what a client may put where a token belongs.
        for value in ("Bearer " + "::error::owned\x9b31m\xa0", "Basic <script>"):
            answer = http.request("GET", "/v1/releases", headers={"Authorization": value.encode("latin-1")})
            assert answer.status_code == 401
        http.request("GET", "/v1/devices", params={"selector": PAYLOAD, "release": PAYLOAD})


@pytest.mark.parametrize(
    "arguments",
    [
        ["device", "accept", PAYLOAD],
        ["device", "list", "--selector", PAYLOAD],
        ["release", "retire", PAYLOAD],
    ],
    ids=lambda arguments: arguments[1],
)
def test_what_an_operator_pastes_is_told_back_inertly(stage: Stage, arguments: list[str]) -> None:
    said = stage.process.run(*arguments)
    assert said.returncode == 2
    hold_inert(said.stderr + said.stdout)


def test_the_audit_log_is_inert_and_whole(stage: Stage) -> None:
    said = stage.process.run("audit", "list")
    assert said.returncode == 0
    hold_inert(said.stdout)
    assert stage.process.run("audit", "verify").returncode == 0
