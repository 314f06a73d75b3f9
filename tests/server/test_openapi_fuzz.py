"""Whatever is sent to any route: no fault, an answer as the OpenAPI document says, and it lives on."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.collector import Device, make_bundle

from envcheck.contract.canonical import digest
from envcheck_server.api.openapi import describe

SCHEMA = schemathesis.openapi.from_dict(describe())
ROUTES = [(method.upper(), path) for path, operations in describe()["paths"].items() for method in operations]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


class Fuzz:
    """Sends what schemathesis makes up, with credentials that hold, so that it gets as far as it can."""

    def __init__(self, collector: Any) -> None:
        self.http = collector.http
        self.device: Device = collector.device()
        self.bearer = {"Authorization": f"Bearer {collector.token('admin')}"}
        self.bundle = make_bundle()
        self.release = collector.holder("baseline:write").push(self.bundle).release
        self.statuses: set[int] = set()

    def send(self, case: Any, *, true: bool) -> None:
        """Send a case; `true` puts names that are there in the place of made-up ones."""
        options = case.as_transport_kwargs(base_url="http://collector")
        body = _body(options)
        path = self._path(case, body) if true else options["url"].removeprefix("http://collector")
        path, _, query = path.partition("?")
        query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in _pairs(options.get("params")))
        # What no client can send is not sent.
        headers = {
            name: value
            for name in ("Range", "If-Range", "If-None-Match")
            if (value := case.headers.get(name, "")) and value.isascii()
        }
        operation = case.operation.definition.raw
        if any("signature" in one for one in operation["security"]):
            answer = self.device.send(case.method, path, body, query=query, **headers)
        else:
            url = f"{path}?{query}" if query else path
            answer = self.http.request(case.method, url, content=body, headers={**self.bearer, **headers})
        self.statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    def _path(self, case: Any, body: bytes) -> str:
        sha256 = digest(self.bundle) if case.method == "GET" else digest(body)
        return case.path.format(device=self.device.name, sha256=sha256, release=self.release)


def _body(options: dict[str, Any]) -> bytes:
    if "json" in options:
        return json.dumps(options["json"]).encode("utf-8", "replace")
    data = options.get("data", b"")
    return data if isinstance(data, bytes) else str(data).encode("utf-8", "replace")


def _pairs(params: Any) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in (params or {}).items()]


def _quoted(text: str) -> str:
    return quote(unquote(text), safe="", errors="replace")


def fuzz(collector: Any, method: str, path: str, examples: int) -> None:
    operation, sender = SCHEMA[path][method], Fuzz(collector)
    described = operation.definition.raw
    # Where there is nothing to say, nothing can be said wrongly.
    modes = (
        GenerationMode if described["parameters"] or "requestBody" in described else [GenerationMode.POSITIVE]
    )
    for mode in modes:

        @given(case=operation.as_strategy(generation_mode=mode), true=st.booleans())
        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        def send(case: Any, true: bool) -> None:
            sender.send(case, true=true)

        send()
    assert collector.http.request("GET", "/healthz").status_code == 200
    assert sender.device.report().stored
    assert sender.statuses


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda route: route)
def test_a_few_requests_to_every_route(collector, method: str, path: str) -> None:
    fuzz(collector, method, path, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda route: route)
def test_many_requests_to_every_route(collector, method: str, path: str) -> None:
    fuzz(collector, method, path, 150)
