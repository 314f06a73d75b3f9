"""A collector's clients by hand: devices that sign, CI that holds tokens, and a release to speak of."""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from support import builders

from envcheck.contract import bundle as bundles
from envcheck.contract.baseline import Graph
from envcheck.contract.canonical import digest
from envcheck.contract.document import Document, decode, encode
from envcheck.contract.evidence import Evidence
from envcheck.contract.fingerprint import (
    Section,
    SharedFingerprint,
    fingerprint_objects,
    make_fingerprint,
    shared_fingerprint,
)
from envcheck.contract.http_signature import sign_request
from envcheck.contract.keys import generate_private_key, key_id, load_private_key, public_key_of
from envcheck.contract.policy import Policy
from envcheck.contract.wire import (
    Enrolment,
    EnrolmentAnswer,
    GateAnswer,
    GateQuestion,
    ObjectAnswer,
    Problem,
    ReleaseAnswer,
    ReleasePush,
    Report,
    ReportAnswer,
    Result,
)
from envcheck.judge.policies import builtin_policy

D = TypeVar("D", bound=Document)

MODEL = b"a model that no test runs"


class Http(Protocol):
    """What httpx.Client and Litestar's TestClient have in common."""

    def request(self, method: str, url: str, **options: Any) -> Any: ...


def told(response: Any, kind: type[D], status: int = 200) -> D:
    """Return the document that an answer carries, its status held to `status`."""
    assert response.status_code == status, (response.status_code, response.text)
    return decode(response.content, kind, "the answer")


def refused(response: Any, status: int) -> Problem:
    return told(response, Problem, status)


@dataclass
class Device:
    """A device that does by hand what the agent does."""

    http: Http
    name: str = "press-07"
    pem: bytes = field(default_factory=generate_private_key)
    epoch: int = 1
    seq: int = 0
    # Seconds that its clock is ahead of ours.
    clock_error: int = 0
    sections: dict[str, Section] = field(default_factory=builders.sections)

    def __post_init__(self) -> None:
        self.private = load_private_key(self.pem, "a test's key")
        self.public = public_key_of(self.private)
        self.keyid = key_id(self.public)

    @property
    def fingerprint(self) -> SharedFingerprint:
        return shared_fingerprint(make_fingerprint(self.sections, self.now(), "0"))

    def now(self, ago: int = 0) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.clock_error - ago))

    def send(self, method: str, path: str, body: bytes = b"", *, query: str = "", **headers: str) -> Any:
        created = int(time.time()) + self.clock_error
        signed = sign_request(method, path, query, body, created, self.keyid, self.private.sign)
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{path}?{query}" if query else path
        return self.http.request(method, url, content=body, headers={**signed, **extra})

    def ask_enrolment(self, token: str, **fields: Any) -> Any:
        values = {"token": token, "device": self.name, "public_key": self.public, **fields}
        return self.send("POST", "/v1/enroll", encode(Enrolment(**values)))

    def enrol(self, token: str, **fields: Any) -> EnrolmentAnswer:
        answer = told(self.ask_enrolment(token, **fields), EnrolmentAnswer)
        self.epoch = answer.epoch
        return answer

    def compose(self, evidence: dict[str, Evidence] | None = None, **fields: Any) -> Report:
        self.seq += 1
        values: dict[str, Any] = {
            "epoch": self.epoch,
            "seq": self.seq,
            "captured_at": self.now(),
            "fingerprint": self.fingerprint.digest,
            "results": {
                bundle: Result(evidence=digest(encode(one)), measured_at=self.now())
                for bundle, one in (evidence or {}).items()
            },
            **fields,
        }
        return Report(**values)

    def put_report(self, report: Report, device: str = "") -> Any:
        return self.send("PUT", f"/v1/devices/{device or self.name}/report", encode(report))

    def put_object(self, data: bytes, name: str = "", *, packed: bool = False) -> Any:
        body = gzip.compress(data, mtime=0) if packed else data
        headers = {"Content_Encoding": "gzip"} if packed else {}
        return self.send("PUT", f"/v1/objects/{name or digest(data)}", body, **headers)

    def report(self, evidence: dict[str, Evidence] | None = None, **fields: Any) -> ReportAnswer:
        """Report, and deliver every object that is asked for."""
        answer = told(self.put_report(self.compose(evidence, **fields)), ReportAnswer)
        objects = fingerprint_objects(self.sections)[1]
        objects |= {digest(encode(one)): encode(one) for one in (evidence or {}).values()}
        wanted = list(answer.missing)
        while wanted:
            wanted += told(self.put_object(objects[wanted.pop()]), ObjectAnswer).missing
        return answer


@dataclass
class Holder:
    """CI or a person: somebody with a token."""

    http: Http
    token: str

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        bearer = {"Authorization": f"Bearer {self.token}"}
        return self.http.request(method, path, content=body, headers={**bearer, **extra})

    def push(self, data: bytes, policy: Policy | None = None, selector: str = "") -> ReleaseAnswer:
        """Upload a bundle and release it."""
        opened = bundles.read_bundle(data, "a test's bundle")
        sent = self.send("PUT", f"/v1/bundles/{opened.sha256}", data)
        assert sent.status_code == 200, sent.text
        return told(self.release(opened.manifest.release, opened.sha256, policy, selector), ReleaseAnswer)

    def release(self, name: str, bundle: str, policy: Policy | None = None, selector: str = "") -> Any:
        push = ReleasePush(bundle=bundle, policy=policy or builtin_policy("default"), selector=selector)
        return self.send("PUT", f"/v1/releases/{name}", encode(push))

    def ask_gate(self, release: str = "digits@1.0", **fields: Any) -> Any:
        return self.send("POST", "/v1/gate", encode(GateQuestion(release=release, **fields)))

    def gate(self, release: str = "digits@1.0", **fields: Any) -> GateAnswer:
        return told(self.ask_gate(release, **fields), GateAnswer)


def make_bundle(*, version: str = "1.0", signed: bool = True, **baseline: Any) -> bytes:
    """A whole small bundle; keyword arguments change fields of its baseline."""
    graph = Graph(sha256=digest(MODEL), size=len(MODEL), ir_version=8)
    made = builders.reference(version=version, graph=graph, **baseline).baseline
    fingerprint = make_fingerprint(builders.sections(), "2026-01-01T00:00:00Z", "0")
    members = {
        bundles.BASELINE: encode(made),
        bundles.FINGERPRINT: encode(fingerprint),
        bundles.MODEL: MODEL,
        bundles.INPUTS: b"inputs",
        bundles.REFERENCE: b"outputs",
    }
    key = load_private_key(generate_private_key(), "a test's key") if signed else None
    return bundles.build_bundle(made.release, members, key)


def evidence_of(device: Device, bundle: bytes, **changed: Any) -> dict[str, Evidence]:
    """What a healthy device measures with this bundle, by the bundle's digest."""
    name = digest(bundle)
    return {name: builders.evidence(device.fingerprint, bundle=name, **changed)}
