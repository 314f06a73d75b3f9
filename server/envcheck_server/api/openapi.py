"""The OpenAPI document, made from the endpoints and the contract's types."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache
from typing import Any

import msgspec

from envcheck import __version__
from envcheck.contract.document import Document
from envcheck.contract.wire import Problem
from envcheck_server.api.endpoint import Endpoint
from envcheck_server.api.endpoints import ENDPOINTS

_BYTES = "application/octet-stream"
_COMPONENTS = "#/components/schemas/"
_RANGES = ("Range", "If-Range", "If-None-Match")
_PARTIAL = {
    "206": {"description": "The range that was asked for", "content": {_BYTES: {"schema": {}}}},
    "304": {"description": "It is what is known already"},
    "416": {"description": "There is no such range", "content": {_BYTES: {"schema": {}}}},
}


@cache
def describe() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    kinds = sorted(
        {kind for endpoint in ENDPOINTS for kind in _documents(endpoint)}, key=lambda kind: kind.FORMAT
    )
    _, components = msgspec.json.schema_components(kinds, ref_template=_COMPONENTS + "{name}")
    components |= _parts(components, {kind.__name__ for kind in kinds})
    for kind in kinds:
        schema = components[kind.__name__]
        schema["properties"] = {"format": {"const": kind.FORMAT}, **schema.get("properties", {})}
        schema["required"] = ["format", *schema.get("required", [])]
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.template, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "envcheck collector", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": "RFC 9421, made by the device's key: docs/wire.md",
                },
            },
        },
    }


def _parts(components: dict[str, Any], documents: set[str]) -> dict[str, Any]:
    """Return schemas of the documents that others hold, there without `format`; references become theirs."""
    found: dict[str, Any] = {}

    def point(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                point(item)
        elif isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix(_COMPONENTS)
            if name in documents:
                value["$ref"] = f"{_COMPONENTS}{name}Part"
                if f"{name}Part" not in found:
                    found[f"{name}Part"] = deepcopy(components[name])
                    point(found[f"{name}Part"])
            for item in value.values():
                point(item)

    for schema in components.values():
        point(schema)
    return found


def _documents(endpoint: Endpoint) -> set[type[Document]]:
    body = endpoint.body if isinstance(endpoint.body, tuple) else (endpoint.body,)
    return {kind for kind in (*body, endpoint.answer, Problem) if kind is not None}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    names = re.findall(r"\{(\w+):", endpoint.path)
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.run.__name__,
        "parameters": [_parameter(name, "path") for name in names]
        + [_parameter(name, "query") for name in endpoint.query]
        + [_parameter(name, "header") for name in _RANGES if endpoint.ranges],
        "responses": {
            "200": {"description": "Done", "content": _content(endpoint.answer, endpoint.media)},
            **(_PARTIAL if endpoint.ranges else {}),
            "default": {"description": "Refused or failed", "content": _content(Problem)},
        },
        "security": _security(endpoint),
    }
    if endpoint.limit is not None:
        operation["requestBody"] = {"required": True, "content": _body(endpoint)}
    return operation


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    found: list[dict[str, list[str]]] = []
    if endpoint.access.device:
        found.append({"signature": []})
    if endpoint.access.scopes:
        found.append({"token": list(endpoint.access.scopes)})
    return found


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _body(endpoint: Endpoint) -> dict[str, Any]:
    if isinstance(endpoint.body, tuple):
        return {"application/json": {"schema": {"anyOf": [_reference(kind) for kind in endpoint.body]}}}
    return _content(endpoint.body)


def _content(kind: type[Document] | None, media: str = _BYTES) -> dict[str, Any]:
    if kind is not None:
        return {"application/json": {"schema": _reference(kind)}}
    return {media: {"schema": {"type": "string", "format": "binary"} if media == _BYTES else {}}}


def _reference(kind: type[Document]) -> dict[str, str]:
    return {"$ref": f"{_COMPONENTS}{kind.__name__}"}
