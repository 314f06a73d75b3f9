"""The gate's answer as SARIF 2.1.0, for code scanning views."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from envcheck import __version__
from envcheck.contract.canonical import canonical_json, digest
from envcheck.contract.text import inert
from envcheck.contract.wire import GateAnswer, GateGroup
from envcheck.output.gate import WORDS, named, title

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"fail": "error", "unknown": "warning"}
_LISTED = 50


def sarif(answer: GateAnswer) -> str:
    """Return a SARIF log with one result for each blocked or unknown group.

    A viewer wants a file to show a result at: it is the release's bundle, as `digits@1.3.envcheck`.
    """
    groups = [group for group in answer.groups if group.outcome != "pass"]
    run = {
        "tool": {"driver": {"name": "envcheck", "version": __version__, "rules": _rules(groups)}},
        "automationDetails": {"id": f"envcheck-gate/{title(answer)}/"},
        "results": [_result(group, answer) for group in groups],
        "properties": {
            "outcome": answer.outcome,
            "total": answer.total,
            "ready": answer.ready,
            "blocked": answer.blocked,
            "unknown": answer.unknown,
        },
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(group: GateGroup) -> str:
    return inert(group.path) or WORDS[group.outcome]


def _rules(groups: list[GateGroup]) -> list[dict[str, Any]]:
    return [
        {"id": name, "shortDescription": {"text": _plain(name)}} for name in dict.fromkeys(map(_rule, groups))
    ]


def _plain(text: str) -> str:
    """Return text as a message that holds no link and no placeholder (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    return inert(text).translate(_MEANINGLESS)


_MEANINGLESS = str.maketrans({"\\": "\\\\", "[": "\\[", "]": "\\]", "{": "{{", "}": "}}"})


def _result(group: GateGroup, answer: GateAnswer) -> dict[str, Any]:
    said = (f"{group.reason}: {group.count} of {answer.total} devices", group.cause, group.hint)
    return {
        "ruleId": _rule(group),
        "level": _LEVELS[group.outcome],
        "message": {"text": "\n".join(_plain(line) for line in said if line)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(f"{inert(answer.release)}.envcheck", safe="@+")}
                },
                "logicalLocations": [{"fullyQualifiedName": _rule(group), "kind": "member"}],
            }
        ],
        "partialFingerprints": {
            "envcheckGroup/v1": digest(
                canonical_json([*map(inert, (answer.release, group.path, group.reason))])
            )
        },
        "properties": {"count": group.count, "devices": named(group, _LISTED)},
    }
