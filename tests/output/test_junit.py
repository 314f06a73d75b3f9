"""The gate's answer as JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from junitparser import JUnitXml

from envcheck.contract.wire import GateAnswer
from envcheck.output.junit import junit


def cases(answer: GateAnswer) -> dict[str, str]:
    """Name of each case -> how it ended."""
    suite = next(iter(JUnitXml.fromstring(junit(answer))))
    return {case.name: case.result[0]._tag if case.result else "passed" for case in suite}


def test_blocked_is_a_failure_and_unknown_an_error(failing: GateAnswer) -> None:
    assert cases(failing) == {
        "verdict": "failure",
        "blocked: int8 products saturate: no VNNI (9)": "failure",
        "unknown: no report for more than 24 h (3)": "error",
    }
    whole = JUnitXml.fromstring(junit(failing))
    assert (whole.tests, whole.failures, whole.errors, whole.skipped) == (3, 2, 1, 0)


def test_a_passed_gate_does_not_look_failed(answer: GateAnswer) -> None:
    assert set(cases(answer).values()) == {"passed", "skipped"}
    assert cases(answer)["verdict"] == "passed"


def test_an_unknown_gate_is_an_error(failing: GateAnswer) -> None:
    import msgspec

    assert cases(msgspec.structs.replace(failing, outcome="unknown"))["verdict"] == "error"


def test_a_failure_tells_path_cause_hint_and_devices(failing: GateAnswer) -> None:
    case = list(next(iter(JUnitXml.fromstring(junit(failing)))))[1]
    problem = case.result[0]
    assert (problem.message, problem.type) == ("int8 products saturate: no VNNI", "evidence.canaries.u8s8")
    for said in ("AVX2 without VNNI", "reduce_range", "press-07 press-11 press-12 press-19 ... (+5)"):
        assert said in problem.text


def test_it_is_whole_xml_of_known_elements(failing: GateAnswer) -> None:
    data = junit(failing)
    assert data.startswith(b"<?xml")
    assert data.endswith(b"\n")
    assert {element.tag for element in ElementTree.fromstring(data).iter()} == {
        "testsuites", "testsuite", "testcase", "failure", "error",
    }  # fmt: skip


def test_nothing_from_elsewhere_is_active(hostile: GateAnswer, payload: str) -> None:
    data = junit(hostile)
    root = ElementTree.fromstring(data)
    assert {element.tag for element in root.iter()} == {
        "testsuites", "testsuite", "testcase", "failure", "error",
    }  # fmt: skip
    everything = "".join(root.itertext()) + "".join(str(element.attrib) for element in root.iter())
    assert not {"\x1b", "\x07", "\0", "\u202e"} & set(everything)
    assert b"<script>" not in data
