"""The gate's answer as SARIF, held to the standard's object model: sarif-om, generated from its schema."""

from __future__ import annotations

import json
import re
from typing import Any

import attr
import pytest
import sarif_om

from envcheck.contract.wire import GateAnswer
from envcheck.output.sarif import sarif

# Where in the standard's object model each property of ours leads.
_INSIDE = {
    ("SarifLog", "runs"): "Run",
    ("Run", "tool"): "Tool",
    ("Run", "results"): "Result",
    ("Run", "automationDetails"): "RunAutomationDetails",
    ("Run", "properties"): None,
    ("Tool", "driver"): "ToolComponent",
    ("ToolComponent", "rules"): "ReportingDescriptor",
    ("ReportingDescriptor", "shortDescription"): "MultiformatMessageString",
    ("Result", "message"): "Message",
    ("Result", "locations"): "Location",
    ("Result", "partialFingerprints"): None,
    ("Result", "properties"): None,
    ("Location", "physicalLocation"): "PhysicalLocation",
    ("Location", "logicalLocations"): "LogicalLocation",
    ("PhysicalLocation", "artifactLocation"): "ArtifactLocation",
}


def check(value: dict[str, Any], kind: str) -> None:
    """Hold an object to its class: no property it does not know, none missing that it requires."""
    fields = attr.fields(getattr(sarif_om, kind))
    known = {field.metadata["schema_property_name"] for field in fields}
    required = {field.metadata["schema_property_name"] for field in fields if field.default is attr.NOTHING}
    assert set(value) <= known, (kind, set(value) - known)
    assert required <= set(value), (kind, required - set(value))
    for name, inner in value.items():
        if isinstance(inner, dict | list) and (below := _INSIDE[kind, name]) is not None:
            for each in inner if isinstance(inner, list) else [inner]:
                check(each, below)


@pytest.mark.parametrize("name", ["answer", "failing", "hostile"])
def test_it_fits_the_standards_object_model(request: pytest.FixtureRequest, name: str) -> None:
    log = json.loads(sarif(request.getfixturevalue(name)))
    assert log["version"] == "2.1.0"
    check(log, "SarifLog")


def test_the_check_itself_finds_what_does_not_belong(answer: GateAnswer) -> None:
    log = json.loads(sarif(answer))
    log["runs"][0]["results"][0]["colour"] = "x"
    with pytest.raises(AssertionError, match="colour"):
        check(log, "SarifLog")


def test_each_group_that_is_not_ready_is_a_result(answer: GateAnswer) -> None:
    run = json.loads(sarif(answer))["runs"][0]
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [
        ("evidence.canaries.u8s8", "error"),
        ("unknown", "warning"),
    ]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["evidence.canaries.u8s8", "unknown"]
    assert "9 of 424 devices" in run["results"][0]["message"]["text"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "digits-int8@1.3.envcheck"


def test_the_same_group_has_the_same_fingerprint_whatever_its_size(answer: GateAnswer) -> None:
    import msgspec

    grown = msgspec.structs.replace(
        answer, groups=[msgspec.structs.replace(group, count=group.count + 1) for group in answer.groups]
    )

    def prints(of: GateAnswer) -> list[Any]:
        return [one["partialFingerprints"] for one in json.loads(sarif(of))["runs"][0]["results"]]

    assert prints(answer) == prints(grown)
    assert prints(answer)[0] != prints(answer)[1]


def test_nothing_from_elsewhere_is_active(hostile: GateAnswer) -> None:
    def strings(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for key, inner in value.items() for text in [key, *strings(inner)]]
        return (
            [text for inner in value for text in strings(inner)] if isinstance(value, list) else [str(value)]
        )

    log = json.loads(sarif(hostile))
    for text in strings(log):
        assert not {"\x1b", "\x07", "\r", "\0", "\u202e"} & set(text)
    # [text](target) in a message is a link, unless its brackets are escaped.
    for result in log["runs"][0]["results"]:
        assert not re.search(r"(?<!\\)\[", result["message"]["text"])
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.isascii()
        assert not set(' <>"`|{}\\^') & set(uri)
