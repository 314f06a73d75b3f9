"""Nobody gets in: every route of the OpenAPI document, bare, with every wrong scope, and with other keys."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from support.collector import Device, Holder, refused

from envcheck.contract.document import encode
from envcheck_server.api.endpoints import ENDPOINTS
from envcheck_server.api.openapi import describe
from envcheck_server.store.values import Scope

# What everybody may ask: whether the collector lives, and what it offers.
OPEN = {"/healthz", "/readyz", "/schema/openapi.json"}
ROUTES = [
    (method.upper(), path, operation)
    for path, operations in describe()["paths"].items()
    for method, operation in operations.items()
]
CLOSED = [route for route in ROUTES if route[1] not in OPEN]


def address(path: str) -> str:
    values = {"device": "press-07", "sha256": "a" * 64, "release": "digits@1.0"}
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


def names(routes: list[tuple[str, str, dict]]) -> list[str]:
    return [f"{method} {path}" for method, path, _ in routes]


def test_the_document_describes_every_endpoint(collector) -> None:
    described = {(method, path) for method, path, _ in ROUTES}
    assert described == {(one.method, re.sub(r":\w+\}", "}", one.path)) for one in ENDPOINTS}
    served = collector.http.request("GET", "/schema/openapi.json")
    assert served.json() == describe()
    registered = {
        (method, route.path_format)
        for route in collector.http.app.routes
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    assert registered == described


def test_only_these_are_open(collector) -> None:
    for _, path, operation in ROUTES:
        assert (operation["security"] == []) == (path in OPEN)
    for path in OPEN:
        assert collector.http.request("GET", path).status_code == 200


@pytest.mark.parametrize(("method", "path", "_operation"), CLOSED, ids=names(CLOSED))
def test_bare_requests_are_refused(collector, method: str, path: str, _operation: dict) -> None:
    for body in (b"", b"{}"):
        assert refused(collector.http.request(method, address(path), content=body), 401).message


@pytest.mark.parametrize("scope", get_args(Scope))
def test_wrong_scopes_are_refused(collector, scope: Scope) -> None:
    implied = {
        "admin": {"admin", "baseline:write", "gate:read", "metrics:read", "operator"},
        "operator": {"operator", "gate:read", "metrics:read"},
    }
    holder = collector.holder(scope)
    for method, path, operation in CLOSED:
        allowed = {one for needed in operation["security"] for one in needed.get("token", [])}
        answer = holder.send(method, address(path), b"{}" if method != "GET" else b"")
        if allowed & implied.get(scope, {scope}):
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert refused(answer, 403).message, (method, path)


def test_unknown_revoked_and_expired_tokens_are_refused(collector) -> None:
    holder = Holder(collector.http, "envcheck_" + "x" * 43)
    assert "not one of" in refused(holder.send("GET", "/v1/releases"), 401).message
    expiring = Holder(collector.http, collector.token("gate:read", expires_s=60))
    assert expiring.send("GET", "/v1/releases").status_code == 200
    collector.ahead[0] = 61
    assert "expired" in refused(expiring.send("GET", "/v1/releases"), 401).message
    secret, token = collector.services.tokens.create("gate:read")
    collector.services.tokens.revoke(token.id)
    assert "revoked" in refused(Holder(collector.http, secret).send("GET", "/v1/releases"), 401).message


@pytest.mark.parametrize("header", ["", "Basic x", "Bearer", "Bearer ", "token"])
def test_authorisation_of_another_kind_is_refused(collector, header: str) -> None:
    answer = collector.http.request("GET", "/v1/releases", headers={"Authorization": header})
    assert refused(answer, 401).hint


def test_a_key_that_nobody_enrolled_is_refused(collector) -> None:
    stranger = Device(collector.http)
    for answer in (
        stranger.put_report(stranger.compose()),
        stranger.put_object(b"{}"),
        stranger.send("GET", f"/v1/bundles/{'a' * 64}"),
    ):
        assert "not known here" in refused(answer, 401).message


def test_no_device_speaks_for_another(collector) -> None:
    one, other = collector.device("press-01"), collector.device("press-02")
    answer = one.put_report(one.compose(), device="press-02")
    assert "another device" in refused(answer, 403).message
    assert refused(one.put_report(one.compose(), device="never-enrolled"), 403).message
    assert other.report().stored


@pytest.mark.parametrize("speaker", range(3))
@pytest.mark.parametrize("named", range(3))
def test_every_pair_of_devices_and_every_route_that_names_one(collector, speaker: int, named: int) -> None:
    devices = [collector.device(f"press-{number}") for number in range(3)]
    naming = [(method, path) for method, path, _ in CLOSED if "{device}" in path]
    assert len(naming) == 2
    for method, path in naming:
        answer = devices[speaker].send(method, path.replace("{device}", devices[named].name), b"{}")
        if speaker == named:
            assert refused(answer, 400).message
        else:
            assert "another device" in refused(answer, 403).message
    strangers = [path for _, path, operation in CLOSED if {"signature": []} not in operation["security"]]
    assert "/v1/inventory" in strangers
    for method, path, operation in CLOSED:
        if {"signature": []} not in operation["security"]:
            body = b"" if method == "GET" else b"{}"
            assert refused(devices[speaker].send(method, address(path), body), 401).message, (method, path)


SPEAKING = [endpoint for endpoint in ENDPOINTS if endpoint.access.device and "{device:" in endpoint.path]


@pytest.mark.parametrize("endpoint", SPEAKING, ids=lambda endpoint: endpoint.path)
def test_every_pair_of_devices_on_every_route_that_names_one(collector, endpoint) -> None:
    """Whatever state either is in; and nothing of the other changes."""
    devices = [collector.device(f"press-{number:02}") for number in range(3)]
    pending = Device(collector.http, "press-03")
    assert pending.enrol(collector.token()).state == "pending"
    revoked = collector.device("press-04")
    collector.services.enrolment.revoke(revoked.name)
    everybody = [*devices, pending, revoked]
    before = {one.name: collector.services.store.devices.find(one.name) for one in everybody}
    for one in everybody:
        for other in everybody:
            if one is other:
                continue
            path = endpoint.template.format(device=other.name)
            for body in (b"{}", encode(other.compose())):
                assert other.name not in refused(one.send(endpoint.method, path, body), 403).message
    assert {one.name: collector.services.store.devices.find(one.name) for one in everybody} == before


def test_a_device_that_is_named_in_a_path_is_one_that_speaks() -> None:
    assert {endpoint.template for endpoint in SPEAKING} == {
        endpoint.template for endpoint in ENDPOINTS if "{device:" in endpoint.path
    }
    assert SPEAKING


def test_a_changed_or_stolen_signature_does_not_verify(collector) -> None:
    one, other = collector.device("press-01"), collector.device("press-02")
    body = encode(one.compose())
    # Signed by another key, under the first one's name.
    one.private, kept = other.private, one.private
    assert "verify" in refused(one.send("PUT", "/v1/devices/press-01/report", body), 401).message
    one.private = kept
    assert one.send("PUT", "/v1/devices/press-01/report", body).status_code == 200


@pytest.mark.parametrize("state", ["pending", "revoked"])
def test_who_is_not_accepted_may_do_nothing(collector, state: str) -> None:
    if state == "pending":
        device = Device(collector.http)
        assert device.enrol(collector.token()).state == "pending"
    else:
        device = collector.device()
        device.report()
        collector.services.enrolment.revoke(device.name)
    for answer in (
        device.put_report(device.compose()),
        device.put_object(b"{}"),
        device.send("GET", f"/v1/bundles/{'a' * 64}"),
    ):
        problem = refused(answer, 403)
        assert device.name in problem.message
        assert problem.hint
